//! `--json`: a question a line on standard input, an answer a line on standard output, in order.
use super::{
    answer::Answer,
    decide::answer,
    question::{Head, Question, Traffic, dialled, split_port},
};
use anyhow::{Context, bail};
use pointsman_model::{Given, World, object::Labels};
use pointsman_route::{Table, explain::Explanation, pod_at};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Longest line, in bytes. A request head has at most 64 KiB.
const MAX_LINE: usize = 1024 * 1024;
/// What is known of a client: namespace, labels, node, and its address if it dials itself.
type Client = (Arc<str>, Labels, Option<Arc<str>>, Option<IpAddr>);
/// Tables of other clients that are kept; beyond it all of them are made anew when asked for.
const MAX_TABLES: usize = 64;

/// One question. Fields that are not known are ignored, null ones are as good as left out.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    pub(crate) protocol: Protocol,
    #[serde(default)]
    pub(crate) via: Via,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) sni: Option<String>,
    #[serde(default)]
    pub(crate) alpn: Vec<String>,
    pub(crate) method: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) path: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Values>,
    pub(crate) version: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) source: Option<Source>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    #[default]
    Tcp,
    Tls,
    Http,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Via {
    #[default]
    Mesh,
    Gateway,
}

/// A header: one value or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a header is a string or a list of strings")]
pub(crate) enum Values {
    One(String),
    Several(Vec<String>),
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Tls {
    pub(crate) sni: Option<String>,
    #[serde(default)]
    pub(crate) alpn: Vec<String>,
}

/// Who asks; what is left out is as the command line says.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Source {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

impl Protocol {
    /// The word of the machine form.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
        }
    }
}

/// Fields that are null are as good as left out, inside `tls` and `source` too.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
        for name in ["tls", "source"] {
            if let Some(field) = fields.get_mut(name) {
                *field = without_nulls(field.take());
            }
        }
    }
    value
}

impl Asked {
    fn head(&mut self) -> anyhow::Result<Head> {
        let old = match self.version.as_deref() {
            Some("1.0") => true,
            None | Some("1.1" | "2") => false,
            Some(other) => bail!("version {other:?}: it is \"1.0\", \"1.1\" or \"2\""),
        };
        let headers = std::mem::take(&mut self.headers);
        let headers = headers.into_iter().flat_map(|(name, values)| {
            let values = match values {
                Values::One(value) => vec![value],
                Values::Several(values) => values,
            };
            values.into_iter().map(move |value| (name.clone(), value))
        });
        let mut head = Head {
            method: self.method.take().unwrap_or_else(|| "GET".to_owned()),
            host: None,
            target: self.path.take().unwrap_or_else(|| "/".to_owned()),
            headers: headers.collect(),
            old,
        };
        head.settle_host();
        head.host = self.host.take().or(head.host);
        Ok(head)
    }

    fn question(mut self) -> anyhow::Result<Question> {
        let (mut inside, mut mesh_alpn) = (None, false);
        // No port is known of the client, and no rule asks for it.
        let source = self.source.as_ref().and_then(|it| it.ip);
        let source = source.map(|ip| SocketAddr::new(ip, 0));
        let (original, traffic) = match (self.protocol, self.tls.take()) {
            (Protocol::Tcp, _) => {
                let ip = self
                    .ip
                    .context("`ip` is missing: raw TCP is routed by it")?;
                let port = self.port.context("`port` is missing")?;
                (SocketAddr::new(ip, port), Traffic::Tcp)
            }
            (Protocol::Tls, _) => {
                let original = to(self.ip, self.port.unwrap_or(443));
                mesh_alpn = is_of_the_mesh(&self.alpn);
                let sni = self.sni.filter(|sni| !sni.is_empty());
                (original, Traffic::Tls { sni })
            }
            // A request inside TLS is seen only where a gateway ends TLS.
            (Protocol::Http, Some(tls)) => {
                let original = to(self.ip, self.port.unwrap_or(443));
                let sni = tls.sni.filter(|sni| !sni.is_empty());
                mesh_alpn = is_of_the_mesh(&tls.alpn);
                inside = Some(self.head()?);
                (original, Traffic::Tls { sni })
            }
            (Protocol::Http, None) => {
                let head = self.head()?;
                let named = head.host.as_deref().unwrap_or_default();
                let port = match (self.port, split_port(named)) {
                    (Some(port), _) => port,
                    (None, Ok((_, Some(port)))) => port,
                    (None, _) => 80,
                };
                (to(self.ip, port), Traffic::Http(head))
            }
        };
        Ok(Question {
            original,
            source,
            traffic,
            inside,
            mesh_alpn,
        })
    }
}

/// Does the list have a protocol of the mesh's own (PS-63)?
fn is_of_the_mesh(alpn: &[String]) -> bool {
    let own = [
        "istio",
        "istio-peer-exchange",
        "istio-http/1.0",
        "istio-http/1.1",
        "istio-h2",
    ];
    alpn.iter().any(|it| own.contains(&&**it))
}

fn to(ip: Option<IpAddr>, port: u16) -> SocketAddr {
    match ip {
        Some(ip) => SocketAddr::new(ip, port),
        None => dialled("", port),
    }
}

/// Answers lines about one set of documents, in the eyes of whoever asks.
pub(crate) struct Answerer<'w> {
    world: &'w World,
    given: Given,
    own: Arc<Table>,
    others: HashMap<Client, Arc<Table>>,
    /// The table of the ports of Gateways, once somebody asks.
    gateway: Option<Arc<Table>>,
    traced: bool,
}

#[derive(Serialize)]
struct Out<'a> {
    id: &'a Value,
    #[serde(flatten)]
    answer: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'w> Answerer<'w> {
    /// `given` tells about the client of all lines that name no other.
    pub(crate) fn new(world: &'w World, given: &Given, traced: bool) -> Self {
        let context = given.context(world);
        Self {
            world,
            given: given.clone(),
            own: Arc::new(Table::compile(world, &context, None).table),
            others: HashMap::new(),
            gateway: None,
            traced,
        }
    }

    /// The table of the ports of Gateways, made when the first line asks for it.
    pub(crate) fn gateway(&mut self) -> Arc<Table> {
        let made = || {
            let context = self.given.gateway(self.world);
            Arc::new(Table::compile(self.world, &context, Some(&self.own)).table)
        };
        self.gateway.get_or_insert_with(made).clone()
    }

    /// The table of the client that the command line names.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.own
    }

    /// Reads lines until there are no more. A line that cannot be answered gets an `error`, and
    /// the next one is read.
    ///
    /// # Errors
    /// Only when reading or writing itself fails.
    pub(crate) fn run(&mut self, input: impl Read, mut output: impl Write) -> std::io::Result<()> {
        let mut input = BufReader::with_capacity(64 * 1024, input);
        let mut line = Vec::new();
        while read_line(&mut input, &mut line)? {
            if !line.iter().all(u8::is_ascii_whitespace) {
                let answer = self.line(&line);
                output.write_all(answer.as_bytes())?;
                output.write_all(b"\n")?;
            }
            // Whoever sends one line and waits must get its answer now; whoever sends many at
            // once is not slowed down by a write for each.
            if !input.buffer().contains(&b'\n') {
                output.flush()?;
            }
        }
        output.flush()
    }

    /// The answer to one line, without the line's end.
    pub(crate) fn line(&mut self, line: &[u8]) -> String {
        let mut id = Value::Null;
        let answer = self.answer(line, &mut id);
        let (answer, error) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let id = &id;
        // Strings, numbers and maps of strings: nothing in it can fail to be JSON.
        serde_json::to_string(&Out { id, answer, error }).unwrap_or_default()
    }

    fn answer(&mut self, line: &[u8], id: &mut Value) -> anyhow::Result<Answer> {
        if line.len() > MAX_LINE {
            bail!("the line is longer than {MAX_LINE} bytes");
        }
        let mut value: Value = serde_json::from_slice(line).context("the line is not JSON")?;
        if !value.is_object() {
            bail!("a question is a JSON object");
        }
        if let Some(given) = value.get_mut("id") {
            *id = given.take();
        }
        self.ask(serde_json::from_value(without_nulls(value))?)
    }

    /// Decides on one question, in the eyes of whoever asks.
    ///
    /// # Errors
    /// When the question cannot be asked: a part is missing or cannot be sent.
    pub(crate) fn ask(&mut self, mut asked: Asked) -> anyhow::Result<Answer> {
        let table = self.table_for(&mut asked);
        answer(&table, &question_to(&table, asked)?, self.traced)
    }

    /// The same for people: every step, and a closing sentence.
    ///
    /// # Errors
    /// As [`Answerer::ask`], and for requests that are refused before they are routed.
    pub(crate) fn tell(&mut self, mut asked: Asked) -> anyhow::Result<Explanation> {
        let table = self.table_for(&mut asked);
        super::ask(&table, &question_to(&table, asked)?)?
            .map_err(|refusal| anyhow::anyhow!("the gateway would refuse this request: {refusal}"))
    }

    fn table_for(&mut self, asked: &mut Asked) -> Arc<Table> {
        if asked.via == Via::Gateway {
            return self.gateway();
        }
        match &mut asked.source {
            None => self.own.clone(),
            Some(source) => {
                // A table for each address would be too many: only who dials itself needs one.
                let itself = source.ip.filter(|&ip| asked.ip == Some(ip));
                self.table_of(source, itself)
            }
        }
    }

    /// What the question says of the client, then what the Pod with its address does, then what
    /// the flags do.
    fn table_of(&mut self, source: &mut Source, itself: Option<IpAddr>) -> Arc<Table> {
        let own = self.own.context();
        let pod = source.ip.and_then(|ip| pod_at(self.world, ip));
        let namespace = match (source.namespace.take(), pod) {
            (Some(namespace), _) => namespace.into(),
            (None, Some(pod)) => pod.meta.key.namespace.clone(),
            (None, None) => own.namespace.clone(),
        };
        let labels = match (source.labels.take(), pod) {
            (Some(labels), _) => labels
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            (None, Some(pod)) => pod.labels().clone(),
            (None, None) => own.labels.clone(),
        };
        let node = match pod {
            Some(pod) => pod.node.clone(),
            None => own.node.clone(),
        };
        let itself = itself.filter(|it| !own.addresses.contains(it));
        let same = own.namespace == namespace && own.labels == labels && own.node == node;
        if same && itself.is_none() {
            return self.own.clone();
        }
        let key = (namespace, labels, node, itself);
        if let Some(table) = self.others.get(&key) {
            return table.clone();
        }
        if self.others.len() >= MAX_TABLES {
            self.others.clear();
        }
        let given = Given {
            namespace: key.0.clone(),
            labels: key.1.clone(),
            node: key.2.clone(),
            addresses: match key.3 {
                Some(address) => vec![address],
                None => self.given.addresses.clone(),
            },
            ..self.given.clone()
        };
        let context = given.context(self.world);
        // Parts that look the same to this client are shared with the first table.
        let compiled = Table::compile(self.world, &context, Some(&self.own));
        let table = Arc::new(compiled.table);
        self.others.insert(key, table.clone());
        table
    }
}

/// The question as the table can be asked it.
fn question_to(table: &Table, asked: Asked) -> anyhow::Result<Question> {
    let mut question = asked.question()?;
    question.settle_gateway(table);
    Ok(question)
}

/// Reads a line without its end, of which no more than one byte over [`MAX_LINE`] is kept; false
/// at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let part = buffer
            .get(..end.unwrap_or(buffer.len()))
            .unwrap_or_default();
        let room = (MAX_LINE + 1).saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &[u8]) -> Vec<Value> {
        let world = World::default();
        let mut answerer = Answerer::new(&world, &Given::default(), false);
        let mut output = Vec::new();
        answerer.run(input, &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn each_line_has_its_answer_and_a_bad_one_does_not_end_the_stream() {
        let mut input = br#"{"id":1,"protocol":"tcp","ip":"192.0.2.1","port":5}

not json
{"id":{"a":[2]},"protocol":"udp"}
{"id":"x","protocol":"tcp","port":5}
{"id":4,"protocol":"http","headers":{"a":1}}
{"id":5,"protocol":"http","host":"a","headers":{"a":"1\r\nb: 2"}}
{"id":6,"protocol":"http","host":"a","version":"3"}
{"id":7,"protocol":"http","host":"a","ip":"192.0.2.1","via":"gateway","more":true}
"#
        .to_vec();
        input.extend(vec![b' '; MAX_LINE]);
        input.extend(b"{}\n{\"id\":9,\"protocol\":\"tls\",\"ip\":\"::1\",\"port\":6}");
        let answers = answers(&input);
        let ids: Vec<&Value> = answers.iter().map(|it| &it["id"]).collect();
        assert_eq!(
            serde_json::to_string(&ids).unwrap(),
            r#"[1,null,{"a":[2]},"x",4,5,6,7,null,9]"#
        );
        for (answer, word) in answers.iter().zip([
            "", "JSON", "udp", "`ip`", "string", "control", "version", "", "longer", "",
        ]) {
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.contains(word), "{answer}");
            assert_eq!(error.is_empty(), word.is_empty(), "{answer}");
        }
        assert_eq!(answers[0]["kind"], "passthrough");
        assert_eq!(answers[0]["endpoints"][0], "192.0.2.1:5");
        assert_eq!(answers[7]["kind"], "reject");
        assert_eq!(answers[7]["reason"], "no_listener");
        assert_eq!(answers[9]["endpoints"][0], "[::1]:6");
    }

    /// Gives one line at a time, and only once the answer to the one before was written.
    struct Dialogue<'a> {
        lines: Vec<&'static [u8]>,
        flushed: &'a std::cell::Cell<usize>,
        given: usize,
    }

    impl Read for Dialogue<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            assert_eq!(self.flushed.get(), self.given, "the answer was kept back");
            match self.lines.get(self.given) {
                None => Ok(0),
                Some(line) => {
                    self.given += 1;
                    (&**line).read(buffer)
                }
            }
        }
    }

    struct Counting<'a>(&'a std::cell::Cell<usize>);

    impl Write for Counting<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }

    #[test]
    fn whoever_waits_for_an_answer_gets_it() {
        let flushed = std::cell::Cell::new(0);
        let input = Dialogue {
            lines: vec![b"{}\n", b"{}\n{}\n", b"{}\n"],
            flushed: &flushed,
            given: 0,
        };
        let world = World::default();
        let mut answerer = Answerer::new(&world, &Given::default(), false);
        answerer.run(input, Counting(&flushed)).unwrap();
    }
}
