//! Asking DNS.
use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// What a name is, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Addresses in the order of the answer. None: the name exists, and has no address.
    pub addresses: Arc<[IpAddr]>,
    /// Lifetime of the records.
    pub valid_for: Duration,
}

/// Looks a name up; the error is a cause for people.
pub type Lookup =
    Arc<dyn Fn(Arc<str>) -> Pin<Box<dyn Future<Output = Result<Answer, Arc<str>>>>> + Send + Sync>;

/// DNS as this machine is configured for it: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
///
/// Names are absolute: a search list would ask for each of them in every domain of the cluster
/// first. IPv4 addresses, or IPv6 ones where there are none (BE-106). A machine without usable
/// configuration has an empty one: then only `/etc/hosts` answers.
pub fn system() -> Lookup {
    let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
        tracing::warn!(%error, "the system's DNS configuration cannot be read");
        TokioResolver::builder_with_config(
            ResolverConfig::default(),
            TokioRuntimeProvider::default(),
        )
    });
    let mut builder = builder;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    // The schedule is the cache; another one would answer the look-up before the end of the
    // records with the very records that are about to end.
    options.cache_size = 0;
    let resolver = match builder.build() {
        Ok(resolver) => Arc::new(resolver),
        Err(error) => {
            let cause: Arc<str> = format!("DNS cannot be used: {error}").into();
            return Arc::new(move |_| {
                let cause = Arc::clone(&cause);
                Box::pin(async move { Err(cause) })
            });
        }
    };
    Arc::new(move |name| {
        let resolver = Arc::clone(&resolver);
        Box::pin(async move {
            let found = resolver.lookup_ip(format!("{name}.")).await;
            let found = found.map_err(|error| Arc::from(error.to_string()))?;
            Ok(Answer {
                addresses: found.iter().collect(),
                valid_for: found
                    .valid_until()
                    .saturating_duration_since(Instant::now()),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_hosts_file_answers() {
        let answer = system()("localhost".into()).await.expect("an answer");
        assert!(answer.addresses.iter().all(IpAddr::is_loopback));
        assert!(!answer.addresses.is_empty());
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_is_an_error_with_a_cause() {
        let label = "x".repeat(70);
        let error = system()(label.into()).await.expect_err("too long");
        assert!(!error.is_empty());
    }
}
