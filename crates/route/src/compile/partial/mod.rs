//! Making a table out of its predecessor, where little has changed.
//!
//! - [`documents`] keeps what a table was made of, finds what is different now, and finds documents
//!   by what they speak of.
//! - [`reach`] puts together the part of the world that the changes reach: the services, the
//!   VirtualServices of their hosts, and everything that has a say in those.
//! - [`patch`] compiles that part with the same code as a whole world, and puts what came of it
//!   into a copy of the previous table.
//!
//! What a change reaches is not followed document by document through the compiler: that would be
//! a second compiler, which goes stale. Where it is not certain that a change stays within its
//! part, everything is compiled anew, which costs a second at a hundred thousand services: changed
//! Services, entries, Sidecars and settings; VirtualServices with wildcards, delegates, gateways,
//! `tls` or `tcp` rules, or with destinations that do not exist, and all of them in the table of a
//! gateway; DestinationRules that come, go, or define other subsets; endpoints of headless Services
//! with ports that listen on them. A property test
//! compares the two ways for random changes (`tests/partial.rs`).
mod documents;
mod patch;
mod reach;

use crate::table::{Compiled, Table};
use documents::Documents;
use pointsman_model::{ClientContext, Finding, World};
use std::{
    fmt,
    sync::{Arc, Mutex},
};

/// Changes beyond this number are compiled with everything else: their parts would together be as
/// large.
const CHANGES: usize = 500;
/// VirtualServices in a part beyond this number: each is asked anew for all its hosts.
const SPEAKERS: usize = 500;
/// Documents in a part beyond this number: as large as a whole mesh.
const DOCUMENTS: usize = 5_000;

/// What a table was made of, for its successor.
#[derive(Clone)]
struct Basis {
    documents: Arc<Documents>,
    findings: Arc<[Finding]>,
    /// Number of patterns when all that were not in use were last forgotten.
    patterns: usize,
}

/// Holds the [`Basis`] of a table. It can be renewed: a change that makes no difference to a table
/// leaves the table as it is, and the next is still compared with the world as it was then.
#[derive(Clone, Default)]
pub(crate) struct MadeOf(Arc<Mutex<Option<Basis>>>);

impl MadeOf {
    /// After everything was compiled.
    pub(super) fn whole(
        world: &World,
        previous: Option<&Table>,
        findings: &[Finding],
        patterns: usize,
    ) -> Self {
        let before = previous.and_then(|table| table.made_of.basis());
        let documents = Documents::of(world, before.map(|before| before.documents));
        Self(Arc::new(Mutex::new(Some(Basis {
            documents,
            findings: findings.into(),
            patterns,
        }))))
    }

    /// `None` if there is none, or if a panic left it in doubt.
    fn basis(&self) -> Option<Basis> {
        self.0.lock().ok()?.clone()
    }

    /// The same table is made of other documents now.
    pub(super) fn renew(&self, other: &Self) {
        let other = other.basis();
        if let Ok(mut own) = self.0.lock() {
            *own = other;
        }
    }
}

impl fmt::Debug for MadeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MadeOf(..)")
    }
}

/// The table of `world`, equal in every respect to one compiled anew after `previous`. `None` where
/// it is not certain that the changes stay within their part.
pub(super) fn compile(
    world: &World,
    context: &ClientContext,
    previous: &Table,
) -> Option<Compiled> {
    let basis = previous.made_of.basis()?;
    if previous.context != *context || previous.patterns.len() > 2 * basis.patterns + 1_000 {
        return None;
    }
    let documents = basis.documents.advance(world)?;
    let part = reach::part(&basis.documents, &documents, context)?;
    if context.role.is_gateway() && !is_for_backends(&part, context) {
        return None;
    }
    let patched = patch::patch(&part, context, previous, &basis.findings)?;
    let mut table = patched.table;
    table.made_of = MadeOf(Arc::new(Mutex::new(Some(Basis {
        documents,
        findings: patched.findings.clone(),
        patterns: basis.patterns,
    }))));
    Some(Compiled {
        table,
        findings: patched.findings.to_vec(),
        changed: patched.changed,
    })
}

/// Does a change reach backends alone, as far as a gateway is concerned? The endpoints of a Service
/// in front of the gateway may say which port it listens on (GW-3).
fn is_for_backends(part: &reach::Part, context: &ClientContext) -> bool {
    let own = format!(".{}.svc.{}", context.namespace, context.cluster_domain);
    part.speakers.is_empty() && !part.hosts.iter().any(|host| host.ends_with(&own))
}
