//! One generation: the tables of all kinds of clients, and which of them answers whom.
//!
//! A table is what one client sees: namespace, labels and visibility are compiled into it. So a
//! process that serves several kinds of clients has several tables, and a connection asks the one
//! of its client. Asking one table with the client as a further argument was rejected: the short
//! names, the rules that apply and the policies of backends all hang on the client, and each would
//! have to be looked up per request instead of per swap.
use crate::{
    clients::{self, Client, Known},
    compile::Findings,
    listener::Bind,
    table::{Compiled, Table},
};
use foldhash::HashMap;
use pointsman_model::{ClientContext, Finding, Given, World};
use std::{net::IpAddr, sync::Arc};

/// One immutable generation of everything.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up from 1; 0 is the empty table before the first compilation.
    pub generation: u64,
    /// The routing tables.
    pub tables: Tables,
}

/// By which door traffic came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// Captured on its way elsewhere: the transparent side.
    Mesh,
    /// Sent to a listener of a Gateway.
    Gateway,
}

/// Position of a table in its [`Tables`]; without meaning in any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableNumber(u32);

impl TableNumber {
    const MESH: Self = Self(0);

    /// Position, for arrays beside the tables: less than [`Tables::len`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The tables of one generation.
#[derive(Clone, Debug)]
pub struct Tables {
    /// First the one of clients of whom only the settings tell, then that of the gateway
    /// listeners, if there are any, then those of known clients.
    all: Vec<Arc<Table>>,
    gateway: Option<TableNumber>,
    /// Clients known by their address.
    clients: Arc<HashMap<IpAddr, TableNumber>>,
    /// What `clients` follows from.
    known: Option<Arc<Known>>,
}

/// What is given about those with whose eyes the documents are read; the documents say the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contexts {
    /// Transparent clients of whom nothing else is known.
    pub mesh: Given,
    /// The gateway listeners; `None`: there are none.
    pub gateway: Option<Given>,
    /// How many tables may be made for clients that Pods tell about; 0: clients are not looked up.
    pub known_clients: usize,
}

impl Contexts {
    /// One kind of client, and no gateway listeners.
    pub fn mesh(mesh: Given) -> Self {
        Self {
            mesh,
            gateway: None,
            known_clients: 0,
        }
    }
}

/// The outcome of compiling all tables.
#[derive(Debug)]
pub struct CompiledTables {
    /// The tables.
    pub tables: Tables,
    /// What people should know, in a stable order, each once.
    pub findings: Vec<Finding>,
    /// False: equal to the previous tables in every respect; there is nothing to swap.
    pub changed: bool,
}

impl From<Table> for Tables {
    /// One table for everybody.
    fn from(table: Table) -> Self {
        Self {
            all: vec![Arc::new(table)],
            gateway: None,
            clients: Arc::default(),
            known: None,
        }
    }
}

impl Tables {
    /// Tables that know nothing.
    pub fn empty(contexts: &Contexts) -> Self {
        let compile = |_: &World, context: &ClientContext, _: Option<&Table>| Compiled {
            table: Table::empty(context.clone()),
            findings: Vec::new(),
            changed: true,
        };
        Self::compile(&World::default(), contexts, None, compile).tables
    }

    /// Compiles all documents as each client sees them. `compile` is [`Table::compile`], except
    /// where a test wants another.
    pub fn compile(
        world: &World,
        contexts: &Contexts,
        previous: Option<&Self>,
        compile: impl Fn(&World, &ClientContext, Option<&Table>) -> Compiled,
    ) -> CompiledTables {
        let mut made = Maker {
            world,
            previous,
            compile,
            all: Vec::new(),
            findings: Findings::default(),
            changed: false,
        };
        made.add(&contexts.mesh.context(world), Told::Yes);
        let gateway = contexts.gateway.as_ref();
        let gateway = gateway.map(|given| made.add(&given.gateway(world), Told::Yes));
        let known_before = previous.and_then(|previous| previous.known.as_ref());
        let known = clients::of(world, &contexts.mesh, contexts.known_clients, known_before);
        let mut clients = HashMap::default();
        let mut numbers = Vec::with_capacity(known.clients.len());
        for Client { context, .. } in &known.clients {
            // What is found in the eyes of a Pod is not told: a host that one namespace cannot see
            // is no fault of a document that is meant for another.
            numbers.push(match context {
                None => TableNumber::MESH,
                Some(context) => made.add(context, Told::No),
            });
        }
        if let Some(finding) = &known.finding {
            made.findings.push(finding.clone());
        }
        // The numbers follow from the order in which tables are made.
        let kept = previous.filter(|previous| {
            let same = |before: &Arc<Known>| Arc::ptr_eq(before, &known);
            previous.known.as_ref().is_some_and(same) && previous.gateway == gateway
        });
        let clients = match kept {
            Some(previous) => Arc::clone(&previous.clients),
            None => {
                for (Client { addresses, .. }, number) in known.clients.iter().zip(numbers) {
                    clients.extend(addresses.iter().map(|address| (*address, number)));
                }
                Arc::new(clients)
            }
        };
        let changed = made.changed
            || previous.is_none_or(|previous| {
                let same = Arc::ptr_eq(&previous.clients, &clients) || previous.clients == clients;
                !same || previous.all.len() != made.all.len()
            });
        CompiledTables {
            tables: Self {
                all: made.all,
                gateway,
                clients,
                known: Some(known),
            },
            findings: made.findings.finish(),
            changed,
        }
    }

    /// The table of transparent clients of whom nothing else is known.
    pub fn mesh(&self) -> &Arc<Table> {
        self.get(TableNumber::MESH)
    }

    /// The table of the gateway listeners, if there are any.
    pub fn gateway(&self) -> Option<&Arc<Table>> {
        self.gateway.map(|number| self.get(number))
    }

    /// What the gateway listeners must listen on.
    pub fn gateway_binds(&self) -> &[Bind] {
        self.gateway().map_or(&[], |table| table.binds())
    }

    /// Which table answers for a client that came by this door.
    pub fn number(&self, via: Via, client: IpAddr) -> TableNumber {
        match via {
            Via::Gateway => self.gateway.unwrap_or(TableNumber::MESH),
            Via::Mesh if self.clients.is_empty() => TableNumber::MESH,
            Via::Mesh => {
                let known = self.clients.get(&client.to_canonical()).copied();
                known.unwrap_or(TableNumber::MESH)
            }
        }
    }

    /// The table of a number of these tables.
    pub fn get(&self, number: TableNumber) -> &Arc<Table> {
        // Numbers of other tables are a mistake of the caller; the mesh's table is always there.
        self.all.get(number.index()).unwrap_or(&self.all[0])
    }

    /// The table made for this client.
    fn of(&self, context: &ClientContext) -> Option<&Arc<Table>> {
        self.all.iter().find(|table| table.context() == context)
    }

    /// Must the same addresses be bound? By capture for the mesh, and for gateway listeners.
    pub fn same_binds(&self, other: &Self) -> bool {
        let gateways = match (self.gateway(), other.gateway()) {
            (Some(own), Some(other)) => own.same_binds(other),
            _ => self.gateway_binds() == other.gateway_binds(),
        };
        gateways && self.mesh().same_binds(other.mesh())
    }

    /// All tables, by number.
    pub fn all(&self) -> &[Arc<Table>] {
        &self.all
    }

    /// How many tables there are; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "there is always the mesh's")]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many clients are known by their address.
    pub fn known_clients(&self) -> usize {
        self.clients.len()
    }
}

/// Compiles one table after the other.
struct Maker<'a, C> {
    world: &'a World,
    previous: Option<&'a Tables>,
    compile: C,
    all: Vec<Arc<Table>>,
    findings: Findings,
    changed: bool,
}

/// Are the findings of a table told?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

impl<C: Fn(&World, &ClientContext, Option<&Table>) -> Compiled> Maker<'_, C> {
    fn add(&mut self, context: &ClientContext, told: Told) -> TableNumber {
        let number = TableNumber(self.all.len() as u32);
        let before = self.previous.and_then(|previous| previous.of(context));
        // Without a table of its own from before, one shares what it can with the first: clusters
        // and rules that are equal in the eyes of both exist once.
        let like = before.or_else(|| self.all.first());
        let compiled = (self.compile)(self.world, context, like.map(|table| &**table));
        if told == Told::Yes {
            compiled
                .findings
                .into_iter()
                .for_each(|it| self.findings.push(it));
        }
        match before {
            Some(before) if !compiled.changed => self.all.push(Arc::clone(before)),
            _ => {
                self.changed = true;
                self.all.push(Arc::new(compiled.table));
            }
        }
        number
    }
}
