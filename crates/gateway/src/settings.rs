//! Process settings: a YAML file, then `POINTSMAN_SECTION__KEY`, then flags. Each effective value
//! knows where it came from.
use config::{
    Config, ConfigError, Environment, File, FileStoredFormat, Format, Map, Source, Value, ValueKind,
};
use pointsman_control::NamesSettings;
use pointsman_dataplane::{
    Capture,
    settings::{Detection, Duration, Http, Http2, Limits, Mirrors, Timeouts, Trust},
};
use pointsman_model::{
    Given, OutboundPolicy,
    context::{EntryCapture, ExportDefaults, OutsideFrontends},
    object::Labels,
};
use pointsman_route::Contexts;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// Everything a process can be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The process.
    pub process: Process,
    /// How traffic comes in.
    pub capture: Capture,
    /// In whose eyes documents are read.
    pub client: Client,
    /// Documents.
    pub sources: Sources,
    /// Names in documents.
    pub names: Names,
    /// What is logged.
    pub log: Log,
    /// Protocol detection.
    pub detection: Detection,
    /// How long each wait may take.
    pub timeouts: Timeouts,
    /// How much of each thing there may be.
    pub limits: Limits,
    /// HTTP/2, towards clients and endpoints.
    pub http2: Http2,
    /// Copies of requests for mirrors.
    pub mirrors: Mirrors,
    /// Whom to believe.
    pub trust: Trust,
    /// What is made of requests.
    pub http: Http,
}

/// The process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Shards, one thread each; 0: one per core.
    pub shards: u16,
    /// Admin and metrics address; loopback only, unless `admin_remote`.
    pub admin: SocketAddr,
    /// Allow the admin address to be reached from other machines.
    pub admin_remote: bool,
    /// How long in-flight work may take once the process was told to stop.
    pub drain_time: Duration,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            shards: 0,
            admin: pointsman_admin::serve::DEFAULT_ADDRESS,
            admin_remote: false,
            drain_time: Duration(std::time::Duration::from_secs(30)),
        }
    }
}

/// The client whose traffic is captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// Its namespace: short host names belong to it.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its own addresses, which are not among the endpoints of headless Services it is sent to.
    pub addresses: Vec<IpAddr>,
    /// The node it runs on: Services with `internalTrafficPolicy: Local` have endpoints there only.
    pub node: Option<String>,
    /// The mesh's root namespace; none: as the mesh's own document says, else `istio-system`.
    pub root_namespace: Option<String>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// What happens to traffic that nothing recognises; none: as the mesh's own document says, else
    /// `ALLOW_ANY`.
    pub outbound_policy: Option<OutboundPolicy>,
    /// What Services and ServiceEntries without `exportTo` are exported to: namespaces, `.`, `*`
    /// or `~`; empty: as the mesh's own document says, else everywhere (VIS-5).
    pub service_export_to: Vec<String>,
    /// The same for VirtualServices.
    pub virtual_service_export_to: Vec<String>,
    /// The same for DestinationRules.
    pub destination_rule_export_to: Vec<String>,
    /// How a TCP ServiceEntry without addresses captures.
    pub serviceentry_capture: EntryCapture,
    /// Are external IPs and load balancer addresses of Services frontends too (LIS-7)?
    pub external_frontends: bool,
    /// Addresses on which node ports are frontends; none: node ports are not (LIS-7).
    pub node_addresses: Vec<IpAddr>,
    /// Namespace of the gateway that serves the ports of Gateways; absent: the root namespace.
    pub gateway_namespace: Option<String>,
    /// Labels of that gateway: it serves the Gateways that select them. None: every Gateway.
    pub gateway_labels: BTreeMap<String, String>,
    /// How many kinds of clients are told apart by the Pod that has their address; 0: none.
    pub known_clients: usize,
}

impl Default for Client {
    fn default() -> Self {
        let given = Given::default();
        Self {
            namespace: given.namespace.to_string(),
            labels: BTreeMap::new(),
            addresses: given.addresses,
            node: None,
            root_namespace: None,
            cluster_domain: given.cluster_domain.to_string(),
            outbound_policy: None,
            service_export_to: Vec::new(),
            virtual_service_export_to: Vec::new(),
            destination_rule_export_to: Vec::new(),
            serviceentry_capture: given.entry_capture,
            external_frontends: given.outside.external_addresses,
            node_addresses: given.outside.nodes,
            gateway_namespace: None,
            gateway_labels: BTreeMap::new(),
            known_clients: 16,
        }
    }
}

impl Client {
    /// What was told about the client and its mesh; documents may say the rest.
    fn given(&self) -> Given {
        let list = |items: &[String]| items.iter().map(|it| it.as_str().into()).collect();
        Given {
            namespace: self.namespace.as_str().into(),
            labels: labels(&self.labels),
            addresses: self.addresses.clone(),
            node: self.node.as_deref().map(Into::into),
            gateway_namespace: self.gateway_namespace.as_deref().map(Into::into),
            gateway_labels: (!self.gateway_labels.is_empty()).then(|| labels(&self.gateway_labels)),
            cluster_domain: self.cluster_domain.as_str().into(),
            entry_capture: self.serviceentry_capture,
            outside: OutsideFrontends {
                external_addresses: self.external_frontends,
                nodes: self.node_addresses.clone(),
            },
            root_namespace: self.root_namespace.as_deref().map(Into::into),
            outbound_policy: self.outbound_policy,
            export_defaults: ExportDefaults {
                services: list(&self.service_export_to),
                virtual_services: list(&self.virtual_service_export_to),
                destination_rules: list(&self.destination_rule_export_to),
            },
            connect_timeout: false,
        }
    }
}

fn labels(written: &BTreeMap<String, String>) -> Labels {
    let pairs = written.iter();
    pairs
        .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
        .collect()
}

/// Documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sources {
    /// How long files must be quiet before they are read again.
    pub debounce: Duration,
    /// How often files are looked at even without a notice from the system.
    pub poll: Duration,
    /// The largest file that is read, in bytes.
    pub max_file_bytes: u64,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            debounce: Duration(std::time::Duration::from_millis(50)),
            poll: Duration(std::time::Duration::from_secs(2)),
            max_file_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Looking up names in documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Names {
    /// How many names are looked up at once.
    pub at_once: usize,
    /// A name is looked up again after this, however short its records live.
    pub refresh_min: Duration,
    /// And after this, however long they live.
    pub refresh_max: Duration,
    /// The longest wait before a name that cannot be looked up is tried again.
    pub retry_max: Duration,
}

impl Default for Names {
    fn default() -> Self {
        let NamesSettings {
            refresh_min,
            refresh_max,
            retry_max,
            at_once,
        } = NamesSettings::default();
        Self {
            at_once,
            refresh_min: Duration(refresh_min),
            refresh_max: Duration(refresh_max),
            retry_max: Duration(retry_max),
        }
    }
}

impl Names {
    /// As the actor wants it.
    pub fn settings(&self) -> NamesSettings {
        NamesSettings {
            refresh_min: self.refresh_min.0,
            refresh_max: self.refresh_max.0,
            retry_max: self.retry_max.0,
            at_once: self.at_once,
        }
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, or `module=level` pairs.
    pub level: String,
    /// The access log.
    pub access: AccessLog,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            access: AccessLog::Off,
        }
    }
}

/// Form of the access log, written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// Istio's default text format.
    Text,
    /// One JSON object per line.
    Json,
}

impl Settings {
    /// What was told about the client and its mesh; documents may say the rest. A time to connect
    /// other than the default one counts as told.
    pub fn given(&self) -> Given {
        Given {
            connect_timeout: self.timeouts.connect != Timeouts::default().connect,
            ..self.client.given()
        }
    }

    /// The same for all tables of a snapshot.
    pub fn contexts(&self) -> Contexts {
        let mesh = self.given();
        Contexts {
            gateway: Some(mesh.clone()),
            mesh,
            known_clients: self.client.known_clients,
        }
    }

    /// What makes no sense, each a sentence with the name of the setting. A process does not start
    /// with settings that would serve nobody.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut demand = |holds: bool, sentence: &str| {
            if !holds {
                faults.push(sentence.to_owned());
            }
        };
        let (limits, timeouts) = (&self.limits, &self.timeouts);
        demand(
            limits.connections > 0,
            "limits.connections must be 1 or more",
        );
        demand(
            (1..=128).contains(&limits.fields),
            "limits.fields must be 1 to 128",
        );
        demand(
            limits.head_bytes >= 1024,
            "limits.head_bytes must be 1024 or more",
        );
        demand(
            limits.target_bytes >= 128,
            "limits.target_bytes must be 128 or more",
        );
        demand(limits.backlog > 0, "limits.backlog must be 1 or more");
        demand(
            limits.access_log_bytes >= 64 * 1024,
            "limits.access_log_bytes must be 65536 or more",
        );
        demand(
            limits.access_log_ring > 0,
            "limits.access_log_ring must be 1 or more; log.access: off switches the log off",
        );
        let http2 = &self.http2;
        for (name, number) in [
            ("http2.client_streams", http2.client_streams),
            ("http2.endpoint_streams", http2.endpoint_streams),
            ("http2.endpoint_connections", http2.endpoint_connections),
        ] {
            demand(number > 0, &format!("{name} must be 1 or more"));
        }
        for (name, bytes) in [
            ("http2.stream_window_bytes", http2.stream_window_bytes),
            (
                "http2.connection_window_bytes",
                http2.connection_window_bytes,
            ),
        ] {
            demand(
                (65_535..1 << 31).contains(&bytes),
                &format!("{name} must be 65535 to 2147483647"),
            );
        }
        demand(
            (16_384..1 << 24).contains(&http2.frame_bytes),
            "http2.frame_bytes must be 16384 to 16777215",
        );
        for (name, bytes) in [
            ("http2.send_buffer_bytes", http2.send_buffer_bytes),
            ("http2.small_frames_bytes", http2.small_frames_bytes),
        ] {
            demand(bytes >= 16_384, &format!("{name} must be 16384 or more"));
        }
        for (name, limit) in [
            ("timeouts.connect", timeouts.connect),
            ("timeouts.request_head", timeouts.request_head),
            ("timeouts.client_hello", timeouts.client_hello),
            ("timeouts.keep_alive", timeouts.keep_alive),
            ("mirrors.timeout", self.mirrors.timeout),
        ] {
            demand(!limit.0.is_zero(), &format!("{name} must be longer than 0"));
        }
        demand(
            self.sources.poll.0 >= std::time::Duration::from_millis(100),
            "sources.poll must be 100ms or more",
        );
        demand(self.names.at_once > 0, "names.at_once must be 1 or more");
        demand(
            self.names.refresh_min.0 >= std::time::Duration::from_secs(1)
                && self.names.refresh_max.0 >= self.names.refresh_min.0,
            "names.refresh_min must be 1s or more, and names.refresh_max not less than it",
        );
        demand(
            self.names.retry_max.0 >= std::time::Duration::from_secs(1),
            "names.retry_max must be 1s or more",
        );
        demand(self.capture.port > 0, "capture.port must be 1 or more");
        let client = &self.client;
        for (name, list) in [
            ("client.service_export_to", &client.service_export_to),
            (
                "client.virtual_service_export_to",
                &client.virtual_service_export_to,
            ),
            (
                "client.destination_rule_export_to",
                &client.destination_rule_export_to,
            ),
        ] {
            let alone = list.iter().any(|word| matches!(word.as_str(), "*" | "~"));
            demand(
                !alone || list.len() == 1,
                &format!("{name}: `*` and `~` must be alone (VIS-6)"),
            );
        }
        demand(
            tracing_subscriber::EnvFilter::try_new(&self.log.level).is_ok()
                && (self.log.level.contains('=')
                    || self.log.level.parse::<tracing::Level>().is_ok()),
            "log.level must be error, warn, info, debug, trace or module=level pairs",
        );
        faults
    }

    /// The part the data path reads.
    pub fn dataplane(&self) -> pointsman_dataplane::Settings {
        pointsman_dataplane::Settings {
            detection: self.detection.clone(),
            timeouts: self.timeouts.clone(),
            limits: self.limits.clone(),
            http2: self.http2.clone(),
            mirrors: self.mirrors.clone(),
            trust: self.trust.clone(),
            http: self.http.clone(),
        }
    }
}

/// One effective value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// `section.key`.
    pub name: String,
    /// The value as text.
    pub value: String,
    /// `default`, the file, `environment` or `flag`.
    pub origin: String,
}

/// Settings with the origin of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The typed settings.
    pub settings: Settings,
    /// Every value, sorted by name.
    pub effective: Vec<Effective>,
}

/// Reads the layers. `flags` are `section.key` and value.
///
/// # Errors
/// A file that cannot be read, an unknown key or a value of the wrong kind: a sentence with the
/// place. The process does not start with settings it does not understand.
pub fn load(file: Option<&Path>, flags: &[(&'static str, String)]) -> Result<Loaded, ConfigError> {
    let defaults = Config::try_from(&Settings::default())?;
    let mut builder = Config::builder().add_source(Origin("default", defaults));
    if let Some(file) = file {
        builder = builder.add_source(File::new(&file.to_string_lossy(), Yaml));
    }
    let environment = Config::builder()
        .add_source(
            Environment::with_prefix("POINTSMAN")
                .prefix_separator("_")
                .separator("__")
                .source(Some(named_settings(std::env::vars_os()))),
        )
        .build()?;
    builder = builder.add_source(Origin("environment", environment));
    let mut given = Config::builder();
    for (name, value) in flags {
        given = given.set_override(name, value.as_str())?;
    }
    builder = builder.add_source(Origin("flag", given.build()?));
    let merged = builder.build()?;
    let mut effective = Vec::new();
    flatten(String::new(), &merged.cache, &mut effective);
    effective.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Loaded {
        settings: merged.try_deserialize()?,
        effective,
    })
}

/// The variables that can be meant for us: POINTSMAN_SECTION__KEY. Others of the prefix are not
/// ours: Kubernetes gives POINTSMAN_PORT and the like to every pod beside a Service called pointsman.
fn named_settings(variables: impl Iterator<Item = (OsString, OsString)>) -> Map<String, String> {
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("POINTSMAN_") && name.contains("__"))
        .collect()
}

fn flatten(name: String, value: &Value, into: &mut Vec<Effective>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(name, value, into);
            }
        }
        kind => into.push(Effective {
            name,
            value: match kind {
                ValueKind::Array(all) => {
                    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                    all.join(", ")
                }
                _ => value.to_string(),
            },
            origin: value.origin().unwrap_or("default").to_owned(),
        }),
    }
}

/// A layer whose values all say the same about where they came from.
#[derive(Clone, Debug)]
struct Origin(&'static str, Config);

impl Source for Origin {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        fn mark(value: Value, origin: &String) -> Value {
            let kind = match value.kind {
                ValueKind::Table(table) => ValueKind::Table(
                    table
                        .into_iter()
                        .map(|(key, value)| (key, mark(value, origin)))
                        .collect(),
                ),
                other => other,
            };
            Value::new(Some(origin), kind)
        }
        let origin = self.0.to_owned();
        let values = self.1.collect()?;
        Ok(values
            .into_iter()
            .map(|(key, value)| (key, mark(value, &origin)))
            .collect())
    }
}

/// YAML by the parser the documents use, so that one parser is shipped.
#[derive(Clone, Copy, Debug)]
struct Yaml;

impl Format for Yaml {
    fn parse(
        &self,
        uri: Option<&String>,
        text: &str,
    ) -> Result<Map<String, Value>, Box<dyn Error + Send + Sync>> {
        let tree: serde_json::Value = serde_saphyr::from_str(text)?;
        match value(uri, tree).kind {
            ValueKind::Table(table) => Ok(table),
            ValueKind::Nil => Ok(Map::new()),
            _ => Err("the settings file is not a map of sections".into()),
        }
    }
}

impl FileStoredFormat for Yaml {
    fn file_extensions(&self) -> &'static [&'static str] {
        &["yaml", "yml", "json"]
    }
}

fn value(uri: Option<&String>, tree: serde_json::Value) -> Value {
    let kind = match tree {
        serde_json::Value::Null => ValueKind::Nil,
        serde_json::Value::Bool(it) => ValueKind::Boolean(it),
        serde_json::Value::Number(it) => match it.as_i64() {
            Some(it) => ValueKind::I64(it),
            None => ValueKind::Float(it.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(it) => ValueKind::String(it),
        serde_json::Value::Array(items) => {
            ValueKind::Array(items.into_iter().map(|it| value(uri, it)).collect())
        }
        serde_json::Value::Object(map) => ValueKind::Table(
            map.into_iter()
                .map(|(key, it)| (key, value(uri, it)))
                .collect(),
        ),
    };
    Value::new(uri, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin<'a>(loaded: &'a Loaded, name: &str) -> (&'a str, &'a str) {
        let found = loaded.effective.iter().find(|it| it.name == name).unwrap();
        (&found.value, &found.origin)
    }

    #[test]
    fn defaults_read_back_as_themselves() {
        let loaded = load(None, &[]).unwrap();
        assert_eq!(loaded.settings, Settings::default());
        assert_eq!(
            origin(&loaded, "detection.server_first_after"),
            ("50ms", "default")
        );
    }

    #[test]
    fn variables_of_a_service_called_pointsman_are_not_settings() {
        let variables = [
            ("POINTSMAN_PORT", "tcp://10.0.0.1:80"),
            ("POINTSMAN_SERVICE_HOST", "10.0.0.1"),
            ("POINTSMAN_TIMEOUTS__CONNECT", "3s"),
            ("OTHER__THING", "1"),
        ];
        let ours = named_settings(variables.iter().map(|(n, v)| (n.into(), v.into())));
        assert_eq!(
            ours.into_keys().collect::<Vec<_>>(),
            ["POINTSMAN_TIMEOUTS__CONNECT"]
        );
    }

    #[test]
    fn what_would_serve_nobody_is_a_fault_with_its_name() {
        assert_eq!(Settings::default().faults(), [""; 0]);
        for (name, value) in [
            ("limits.connections", "0"),
            ("limits.fields", "500"),
            ("limits.head_bytes", "1"),
            ("limits.access_log_bytes", "1000"),
            ("http2.endpoint_streams", "0"),
            ("http2.stream_window_bytes", "1000"),
            ("http2.frame_bytes", "16777216"),
            ("http2.send_buffer_bytes", "0"),
            ("timeouts.connect", "0"),
            ("sources.poll", "0"),
            ("capture.port", "0"),
            ("log.level", "shouty"),
            ("log.level", "foo=bar"),
        ] {
            let loaded = load(None, &[(name, value.into())]).unwrap();
            let faults = loaded.settings.faults();
            assert!(
                faults.iter().any(|it| it.contains(name)),
                "{name}: {faults:?}"
            );
        }
    }

    #[test]
    fn proxies_are_addresses_and_ranges() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pointsman.yaml");
        let write = |proxies: &str| {
            std::fs::write(&file, format!("trust: {{proxies: [{proxies}]}}\n")).unwrap();
            load(Some(&file), &[])
        };
        let loaded = write("192.0.2.7, '2001:db8::7', 10.0.0.0/8").unwrap();
        let written = "192.0.2.7, 2001:db8::7, 10.0.0.0/8";
        let all = ["192.0.2.7/32", "2001:db8::7/128", "10.0.0.0/8"];
        assert_eq!(
            loaded.settings.trust.proxies,
            all.map(|it| it.parse().unwrap())
        );
        assert_eq!(origin(&loaded, "trust.proxies").0, written);
        assert!(write("proxy.example.com").is_err());
    }

    #[test]
    fn later_layers_win_and_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pointsman.yaml");
        std::fs::write(
            &file,
            "timeouts: {connect: 3s, request_head: 4s}\nclient: {outbound_policy: REGISTRY_ONLY}\n",
        )
        .unwrap();
        let loaded = load(Some(&file), &[("timeouts.request_head", "5s".into())]).unwrap();
        assert_eq!(origin(&loaded, "timeouts.connect").0, "3s");
        assert!(
            origin(&loaded, "timeouts.connect")
                .1
                .ends_with("pointsman.yaml")
        );
        assert_eq!(origin(&loaded, "timeouts.request_head"), ("5s", "flag"));
        assert_eq!(
            loaded.settings.client.outbound_policy,
            Some(OutboundPolicy::RegistryOnly)
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_name() {
        for (text, word) in [
            ("timeouts: {conect: 3s}", "conect"),
            ("timeouts: {connect: soon}", "soon"),
            ("proces: {}", "proces"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("bad.yaml");
            std::fs::write(&file, text).unwrap();
            let error = load(Some(&file), &[]).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
