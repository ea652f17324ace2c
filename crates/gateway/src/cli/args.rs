//! What a person typed.
use clap::{Args, Parser, Subcommand, ValueEnum};
use pointsman_model::OutboundPolicy;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// Routes TCP, TLS and HTTP as Kubernetes and Istio documents say. One process, no control plane.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sample shop and gateway on loopback, with commands to try
    #[command(
        after_help = "Examples:\n  pointsman demo\n  pointsman demo --write ./shop     only write the files"
    )]
    Demo(Demo),
    /// Serve traffic by the documents in files and folders, and follow their changes
    #[command(
        after_help = "Examples:\n  pointsman run -f mesh/\n  kustomize build . | pointsman run -f -\n  pointsman run -f mesh/ --capture redirect --capture-port 15001"
    )]
    Run(Run),
    /// Say what is wrong with documents, without serving
    #[command(
        after_help = "Examples:\n  pointsman analyze -f mesh/\n  pointsman analyze -f - -o json < all.yaml\n  pointsman analyze --list-codes\n\nExit code 1 when there is a finding at or above --fail-on."
    )]
    Analyze(Analyze),
    /// As analyze, each document by itself: no references, no rules of several documents
    #[command(
        after_help = "Example:\n  pointsman validate -f mesh/\n\nExit code 1 when there is a finding at or above --fail-on."
    )]
    Validate(Analyze),
    /// Say why a connection or request would go where
    #[command(
        after_help = "Examples:\n  pointsman explain -f mesh/ http://reviews:9080/reviews/1 -H 'end-user: jason'\n  pointsman explain -f mesh/ tcp://10.96.0.30:3306\n  pointsman explain -f mesh/ tls://api.example.com --to 198.51.100.4:443\n  pointsman explain -f mesh/ --curl \"curl -H 'end-user: jason' http://reviews:9080/\"\n  pointsman explain -f mesh/ --json < questions.jsonl\n\nExit codes: 0 a backend was found, 4 no route, 5 no usable endpoint."
    )]
    Explain(Explain),
    /// Check that connections and requests go where a file says they must
    #[command(
        after_help = "Examples:\n  pointsman test -f mesh/ routes.test.yaml\n  pointsman test -f mesh/ *.test.yaml -o junit > report.xml\n  pointsman test -f mesh/ routes.test.yaml --filter jason\n\nExit codes: 0 all cases pass, 1 a case fails, 2 a case cannot be read."
    )]
    Test(Test),
    /// Say which traffic changes, and how, if new documents take the place of old ones
    #[command(
        after_help = "Examples:\n  pointsman diff -f mesh/ -f mesh-new/\n  git worktree add /tmp/main main && pointsman diff -f /tmp/main/mesh -f mesh\n\nExit codes: 0 no traffic changes, 1 some does, 2 wrong use."
    )]
    Diff(Diff),
    /// Show one thing with everything that refers to it, and what it means for traffic
    #[command(
        after_help = "Examples:\n  pointsman describe -f mesh/ service reviews\n  pointsman describe -f mesh/ host api.example.com\n  pointsman describe -f mesh/ virtualservice shop.prod -o json"
    )]
    Describe(Describe),
    /// Show each effective setting and where it came from
    Settings(Settings),
    /// Print or check the iptables rules for --capture redirect; never applies them
    Iptables(Iptables),
    /// Print a completion script
    #[command(
        after_help = "Example:\n  pointsman completion bash > /etc/bash_completion.d/pointsman"
    )]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// Form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Capture {
    Bind,
    Redirect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Policy {
    AllowAny,
    RegistryOnly,
}

impl From<Policy> for OutboundPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::AllowAny => Self::AllowAny,
            Policy::RegistryOnly => Self::RegistryOnly,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EntryCapture {
    Resolved,
    Port,
}

/// Whose traffic this is: one set of flags for every command that decides about traffic.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Client")]
pub(crate) struct ClientArgs {
    /// Namespace of the client: short host names belong to it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// A label of the client (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// An address of the client (repeatable): not among endpoints of headless Services
    #[arg(long = "address", value_name = "IP")]
    pub(crate) addresses: Vec<IpAddr>,
    /// Node the client runs on
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// The mesh's root namespace [default: as the mesh's ConfigMap says, else istio-system]
    #[arg(long, value_name = "NAME")]
    pub(crate) root_namespace: Option<String>,
    /// The cluster's domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) cluster_domain: Option<String>,
    /// What happens to traffic that nothing recognises [default: as the mesh's ConfigMap says, else
    /// ALLOW_ANY]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(crate) outbound_policy: Option<Policy>,
    /// How a TCP ServiceEntry without addresses captures: addresses its hosts have, or the port
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) serviceentry_capture: Option<EntryCapture>,
    /// Namespace of the gateway, for traffic that comes to a Gateway [default: the root namespace]
    #[arg(long, value_name = "NAME")]
    pub(crate) gateway_namespace: Option<String>,
    /// A label of the gateway (repeatable): it serves the Gateways that select it [default: all]
    #[arg(long = "gateway-label", value_name = "KEY=VALUE")]
    pub(crate) gateway_labels: Vec<String>,
}

impl ClientArgs {
    /// The flags that were given, as words of another command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut made = Vec::new();
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                made.extend([flag.to_owned(), value]);
            }
        };
        let text = |value: &Option<String>| value.clone();
        // By name, so that a new flag is not forgotten here.
        let Self {
            namespace,
            labels,
            addresses,
            node,
            root_namespace,
            cluster_domain,
            outbound_policy,
            serviceentry_capture,
            gateway_namespace,
            gateway_labels,
        } = self;
        add("--namespace", text(namespace));
        for label in labels {
            add("--label", Some(label.clone()));
        }
        for address in addresses {
            add("--address", Some(address.to_string()));
        }
        add("--node", text(node));
        add("--root-namespace", text(root_namespace));
        add("--cluster-domain", text(cluster_domain));
        add("--outbound-policy", outbound_policy.as_ref().and_then(word));
        let capture = serviceentry_capture.as_ref();
        add("--serviceentry-capture", capture.and_then(word));
        add("--gateway-namespace", text(gateway_namespace));
        for label in gateway_labels {
            add("--gateway-label", Some(label.clone()));
        }
        made
    }
}

/// The word of a value on the command line.
fn word<T: ValueEnum>(value: &T) -> Option<String> {
    let value = value.to_possible_value()?;
    Some(value.get_name().to_owned())
}

/// Layers under the flags.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// Settings file (YAML); POINTSMAN_SECTION__KEY and flags come after it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Demo {
    /// Only write the shop's documents to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,
    /// Overwrite files that were edited
    #[arg(long)]
    pub(crate) force: bool,
    /// Folder of the documents the demo serves from; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "pointsman-demo")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

/// The process.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    /// Shards, one thread each [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<u16>,
    /// Address for metrics and health [default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,
    /// How long in-flight work may take after SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) drain_time: Option<String>,
    /// Write an access log to standard output
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) access_log: Option<crate::settings::AccessLog>,
    /// More log: -v debug, -vv trace
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Less log: errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// File or folder of documents, or - for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// How traffic comes in: sockets of our own, or iptables REDIRECT
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) capture: Option<Capture>,
    /// Port that redirected traffic is sent to [default: 15001]
    #[arg(long, value_name = "PORT")]
    pub(crate) capture_port: Option<u16>,
    /// Mark our own packets, for capture rules that leave them alone (needs CAP_NET_ADMIN)
    #[arg(long, value_name = "MARK")]
    pub(crate) capture_mark: Option<u32>,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Analyze {
    /// File or folder of documents, or - for standard input (repeatable)
    #[arg(
        short = 'f',
        long = "file",
        value_name = "PATH",
        required_unless_present = "list_codes"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// List every code there is and what it means, instead of reading documents
    #[arg(long, conflicts_with = "files")]
    pub(crate) list_codes: bool,
    /// Exit 1 at findings of this level or worse
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub(crate) fail_on: FailOn,
    /// Also show findings that are only worth knowing
    #[arg(long)]
    pub(crate) info: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// Short for -o json: one line per finding
    #[arg(long)]
    pub(crate) json: bool,
    /// Colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    Error,
    Warning,
    Info,
    Never,
}

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("question").required(true))]
pub(crate) struct Explain {
    /// http://HOST[:PORT]/PATH, https://HOST, tcp://IP:PORT or tls://NAME
    #[arg(group = "question")]
    pub(crate) target: Option<String>,
    /// File or folder of documents, or - for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// A curl command, pasted: "curl -H ... URL"
    #[arg(long, value_name = "COMMAND", group = "question")]
    pub(crate) curl: Option<String>,
    /// A line of an access log, pasted: Istio's default text format, or JSON
    #[arg(long, value_name = "LINE", group = "question")]
    pub(crate) log_line: Option<String>,
    /// Answer questions from standard input, a JSON object a line (docs/explain.md)
    #[arg(
        long,
        group = "question",
        conflicts_with_all = ["method", "headers", "to", "output", "color"]
    )]
    pub(crate) json: bool,
    /// With --json: add the steps of each decision
    #[arg(long, conflicts_with_all = ["target", "curl", "log_line"])]
    pub(crate) trace: bool,
    /// Method of the request [default: GET]
    #[arg(short = 'X', long)]
    pub(crate) method: Option<String>,
    /// A header of the request (repeatable)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The address the client dialled, where it is not the target's own
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) to: Option<SocketAddr>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// The traffic comes to a port of a Gateway, instead of being captured on its way out
    #[arg(long)]
    pub(crate) gateway: bool,
    /// Colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Test {
    /// Files of cases (docs/test.md)
    #[arg(value_name = "CASES", required = true)]
    pub(crate) cases: Vec<PathBuf>,
    /// File or folder of documents, or - for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Only cases with this text in their name
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Only show cases that fail
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = TestOutput::Text)]
    pub(crate) output: TestOutput,
    /// Colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Diff {
    /// File or folder of documents, or - for standard input: first the old, then the new
    #[arg(
        short = 'f',
        long = "file",
        value_name = "PATH",
        required = true,
        num_args = 1
    )]
    pub(crate) files: Vec<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// Colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Describe {
    /// What it is
    #[arg(value_enum, ignore_case = true)]
    pub(crate) kind: DescribeKind,
    /// NAME, NAME.NAMESPACE or NAMESPACE/NAME; of a host its name
    pub(crate) name: String,
    /// File or folder of documents, or - for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// Colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What can be described, with the short names of `kubectl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DescribeKind {
    #[value(alias = "svc")]
    Service,
    Host,
    #[value(alias = "vs")]
    Virtualservice,
    #[value(alias = "dr")]
    Destinationrule,
    #[value(alias = "se")]
    Serviceentry,
    #[value(alias = "gw")]
    Gateway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestOutput {
    Text,
    Json,
    Junit,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// Arguments of `pointsman iptables`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Iptables {
    /// Print the rules, or check whether they are in place
    #[arg(value_enum)]
    pub(crate) action: IptablesAction,
    /// Port that traffic is redirected to
    #[arg(long, default_value_t = 15001)]
    pub(crate) capture_port: u16,
    /// User id the gateway runs as: its own traffic is left alone
    #[arg(long, value_name = "UID")]
    pub(crate) uid: Option<u32>,
    /// Group id the gateway runs as: its own traffic is left alone
    #[arg(long, value_name = "GID")]
    pub(crate) gid: Option<u32>,
    /// Mark of packets that are left alone
    #[arg(long, value_name = "MARK")]
    pub(crate) mark: Option<u32>,
    /// Redirect what arrives at this machine for others (a router), not what starts on it
    #[arg(long)]
    pub(crate) forwarded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
/// What to do with the rules.
pub(crate) enum IptablesAction {
    /// Print them.
    Print,
    /// Check whether they are in place.
    Check,
}

type Flags = Vec<(&'static str, String)>;

impl ProcessArgs {
    pub(crate) fn flags(&self, flags: &mut Flags) {
        if let Some(shards) = self.shards {
            flags.push(("process.shards", shards.to_string()));
        }
        if let Some(admin) = self.admin {
            flags.push(("process.admin", admin.to_string()));
        }
        if let Some(drain_time) = &self.drain_time {
            flags.push(("process.drain_time", drain_time.clone()));
        }
        if let Some(form) = self.access_log.and_then(|form| form.to_possible_value()) {
            flags.push(("log.access", form.get_name().to_owned()));
        }
        match (self.quiet, self.verbose) {
            (true, _) => flags.push(("log.level", "error".into())),
            (false, 0) => {}
            (false, 1) => flags.push(("log.level", "debug".into())),
            (false, _) => flags.push(("log.level", "trace".into())),
        }
    }
}

impl ClientArgs {
    pub(crate) fn flags(&self, flags: &mut Flags) -> anyhow::Result<()> {
        for (name, value) in [
            ("client.namespace", &self.namespace),
            ("client.node", &self.node),
            ("client.root_namespace", &self.root_namespace),
            ("client.cluster_domain", &self.cluster_domain),
            ("client.gateway_namespace", &self.gateway_namespace),
        ] {
            if let Some(value) = value {
                flags.push((name, value.clone()));
            }
        }
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned())
        };
        if let Some(policy) = name(self.outbound_policy.and_then(|it| it.to_possible_value())) {
            flags.push(("client.outbound_policy", policy));
        }
        if let Some(how) = name(
            self.serviceentry_capture
                .and_then(|it| it.to_possible_value()),
        ) {
            flags.push(("client.serviceentry_capture", how));
        }
        Ok(())
    }
}

/// Labels on the command line; they are not layered with the settings file but added to it.
fn pairs(flag: &str, written: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let read = |pair: &String| {
        pair.split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .ok_or_else(|| anyhow::anyhow!("{flag} {pair}: write it as KEY=VALUE"))
    };
    written.iter().map(read).collect()
}

/// What was typed, or set, cannot be meant: exit code 2.
#[derive(Debug)]
pub(crate) struct WrongUse(pub(crate) anyhow::Error);

impl std::fmt::Display for WrongUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for WrongUse {}

/// Loads settings with the flags of a command on top.
pub(crate) fn load(
    config: &ConfigArgs,
    client: &ClientArgs,
    process: &ProcessArgs,
    flags: Flags,
) -> anyhow::Result<crate::settings::Loaded> {
    layered(config, client, process, flags).map_err(|error| WrongUse(error).into())
}

fn layered(
    config: &ConfigArgs,
    client: &ClientArgs,
    process: &ProcessArgs,
    mut flags: Flags,
) -> anyhow::Result<crate::settings::Loaded> {
    process.flags(&mut flags);
    client.flags(&mut flags)?;
    let mut loaded = crate::settings::load(config.config.as_deref(), &flags)
        .map_err(|error| anyhow::anyhow!("settings: {error}"))?;
    let settings = &mut loaded.settings.client;
    settings.addresses.extend(&client.addresses);
    settings.labels.extend(pairs("--label", &client.labels)?);
    let own = pairs("--gateway-label", &client.gateway_labels)?;
    settings.gateway_labels.extend(own);
    let faults = loaded.settings.faults();
    if !faults.is_empty() {
        anyhow::bail!("settings: {}", faults.join("; "));
    }
    Ok(loaded)
}
