//! Asking DNS.
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{LookupIpStrategy, ResolveHosts},
    net::runtime::TokioRuntimeProvider,
    system_conf::parse_resolv_conf,
};
use std::{
    fs,
    future::Future,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
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

/// DNS as this machine is configured for it: `/etc/hosts`, then the servers of `/etc/resolv.conf`,
/// as they are by now.
///
/// Names are absolute: a search list would ask for each of them in every domain of the cluster
/// first. IPv4 addresses, or IPv6 ones where there are none (BE-106). A machine without usable
/// configuration has an empty one: then only `/etc/hosts` answers.
pub fn system() -> Lookup {
    configured(Files {
        servers: "/etc/resolv.conf".into(),
        hosts: "/etc/hosts".into(),
    })
}

/// Where the configuration is.
struct Files {
    servers: PathBuf,
    hosts: PathBuf,
}

/// How often the files are looked at: another network has other servers, and look-ups come by the
/// thousand.
const LOOK: Duration = Duration::from_secs(1);

fn configured(files: Files) -> Lookup {
    let current: Mutex<Option<Current>> = Mutex::default();
    Arc::new(move |name| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let resolver = Current::resolver(&mut current, &files);
        Box::pin(async move {
            let found = resolver?.lookup_ip(format!("{name}.")).await;
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

/// A resolver, or why there is none.
type Resolver = Result<Arc<TokioResolver>, Arc<str>>;

/// The resolver for the files as they were.
struct Current {
    looked: Instant,
    stamps: [Stamp; 2],
    resolver: Resolver,
}

impl Current {
    fn resolver(current: &mut Option<Self>, files: &Files) -> Resolver {
        let now = Instant::now();
        if let Some(current) = current
            && now.saturating_duration_since(current.looked) < LOOK
        {
            return current.resolver.clone();
        }
        // Before they are read: what is written meanwhile is seen next time.
        let stamps = [stamp(&files.servers), stamp(&files.hosts)];
        let resolver = match current {
            Some(current) if current.stamps == stamps => current.resolver.clone(),
            _ => files.resolver(),
        };
        *current = Some(Self {
            looked: now,
            stamps,
            resolver: resolver.clone(),
        });
        resolver
    }
}

/// What tells one content of a file from another: device, inode, length, and when it was written.
/// `None`: it cannot be read.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let it = fs::metadata(path).ok()?;
    Some((it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec()))
}

impl Files {
    fn resolver(&self) -> Resolver {
        let read = fs::read(&self.servers).map_err(|error| error.to_string());
        let read = read.and_then(|it| parse_resolv_conf(it).map_err(|error| error.to_string()));
        let (servers, read_options) = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "the system's DNS configuration cannot be read");
            Default::default()
        });
        let runtime = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(servers, runtime);
        let options = builder.options_mut();
        *options = read_options;
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        // The schedule is the cache; another one would answer the look-up before the end of the
        // records with the very records that are about to end.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never; // it is read here
        let resolver = builder.build();
        let mut resolver =
            resolver.map_err(|error| Arc::from(format!("DNS cannot be used: {error}")))?;
        let mut hosts = Hosts::default();
        if let Ok(file) = fs::File::open(&self.hosts)
            && let Err(error) = hosts.read_hosts_conf(file)
        {
            tracing::warn!(%error, "the system's hosts file cannot be read");
        }
        resolver.set_hosts(Arc::new(hosts));
        Ok(Arc::new(resolver))
    }
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

    #[tokio::test]
    async fn files_that_change_are_read_again() {
        let folder = std::env::temp_dir().join(format!("pointsman-lookup-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let files = || Files {
            servers: folder.join("resolv.conf"),
            hosts: folder.join("hosts"),
        };
        let lookup = configured(files());
        let hosts = |text: &str| fs::write(files().hosts, text).expect("written");
        let until = async |wanted: &[IpAddr]| {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                let got = lookup("shop.example".into()).await;
                let addresses = got.map(|it| it.addresses);
                if addresses.as_ref().is_ok_and(|it| **it == *wanted) {
                    return;
                }
                assert!(Instant::now() < deadline, "{addresses:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        hosts("127.0.9.1 shop.example\n");
        until(&[[127, 0, 9, 1].into()]).await;
        hosts("127.0.9.2 shop.example\n");
        until(&[[127, 0, 9, 2].into()]).await;

        // The servers, which listen at one port only: the resolver is another one.
        let mut current = None;
        let mut look = || {
            if let Some(Current { looked, .. }) = &mut current {
                *looked -= LOOK;
            }
            Current::resolver(&mut current, &files()).expect("a resolver")
        };
        let none = look();
        assert!(Arc::ptr_eq(&none, &look()));
        fs::write(files().servers, "nameserver 127.0.9.3\n").expect("written");
        assert!(!Arc::ptr_eq(&none, &look()));
        assert!(Arc::ptr_eq(&look(), &look()));
        fs::remove_dir_all(&folder).expect("removed");
    }
}
