//! Parser events to trees, within budgets.
use super::{
    scalar::{self, Kind, Scalar},
    tree::{Key, Map, Node, Span, Value},
};
use crate::{Limits, codes};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};
use pointsman_model::Code;

/// Everything that could be read of one text.
pub(crate) struct Stream {
    pub(crate) documents: Vec<RawDocument>,
    /// False when a part of the text was given up.
    pub(crate) complete: bool,
}

/// One document of the text, `---` to `---`.
pub(crate) struct RawDocument {
    /// `None` where it could not be read to its end.
    pub(crate) root: Option<Node>,
    /// What is wrong with it as YAML.
    pub(crate) problems: Vec<Problem>,
}

/// A fault of the text itself.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) label: &'static str,
    pub(crate) help: &'static str,
    /// The place the fault collides with.
    pub(crate) other: Option<Span>,
}

/// Reads all documents. A syntax error costs the document it is in: reading goes on at the next
/// `---`, but the stream is then no longer complete.
pub(crate) fn read(text: &str, limits: &Limits) -> Stream {
    if text.len() > limits.bytes {
        let message = format!(
            "the text has {} bytes, more than the {} that are read",
            text.len(),
            limits.bytes
        );
        return Stream {
            documents: vec![RawDocument {
                root: None,
                problems: vec![over_budget(Span::default(), message)],
            }],
            complete: false,
        };
    }
    let mut options = granit_parser::options! {
        // One more than ours, so that ours is the one that speaks.
        flow_nesting_limit: limits.depth + 1,
        block_nesting_limit: limits.depth + 1,
    };
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut stream = Stream {
        documents: Vec::new(),
        complete: true,
    };
    let mut budget = limits.nodes;
    let mut builder = Builder::new(limits);
    while let Some(next) = parser.next_event() {
        let failure = match next {
            Ok((Event::DocumentStart(..), _)) => {
                builder = Builder::new(limits);
                continue;
            }
            Ok((Event::DocumentEnd, _)) => {
                let done = std::mem::replace(&mut builder, Builder::new(limits));
                stream.documents.push(RawDocument {
                    root: done.root,
                    problems: done.problems,
                });
                continue;
            }
            Ok((event, span)) => match builder.take(event, place(&span), &mut budget) {
                Ok(()) => continue,
                Err(problem) => problem,
            },
            Err(error) => syntax(&error),
        };
        stream.complete = false;
        let over = failure.code == codes::BUDGET;
        let mut problems = std::mem::take(&mut builder.problems);
        problems.push(failure);
        stream.documents.push(RawDocument {
            root: None,
            problems,
        });
        builder = Builder::new(limits);
        if over || !matches!(parser.proceed_next_document(), Ok(true)) {
            break;
        }
    }
    stream
}

fn place(span: &granit_parser::Span) -> Span {
    let (start, end) = (span.start, span.end);
    Span {
        line: u32::try_from(start.line()).unwrap_or(u32::MAX),
        column: u32::try_from(start.col().saturating_add(1)).unwrap_or(u32::MAX),
        width: if start.line() == end.line() {
            u32::try_from(end.col().saturating_sub(start.col())).unwrap_or(0)
        } else {
            0
        },
    }
}

fn syntax(error: &ScanError) -> Problem {
    let mark = error.marker();
    let span = Span {
        line: u32::try_from(mark.line()).unwrap_or(u32::MAX),
        column: u32::try_from(mark.col().saturating_add(1)).unwrap_or(u32::MAX),
        width: 0,
    };
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        return over_budget(span, "lists and maps are nested too deeply".into());
    }
    let cause = error.info();
    Problem {
        code: codes::SYNTAX,
        span,
        help: if cause.contains("tab") {
            "YAML is indented with blanks"
        } else {
            ""
        },
        message: format!("this is not YAML: {cause}"),
        label: "",
        other: None,
    }
}

fn over_budget(span: Span, message: String) -> Problem {
    Problem {
        code: codes::BUDGET,
        span,
        message,
        label: "reading stops here",
        help: "split the file, or write out what its aliases repeat",
        other: None,
    }
}

/// A list or map whose end has not come yet.
struct Open {
    span: Span,
    anchor: usize,
    /// Nodes inside, itself included: what one alias to it costs.
    size: usize,
    /// Levels below it.
    height: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        key: Option<Key>,
        merges: Vec<Node>,
    },
}

struct Anchored {
    node: Node,
    size: usize,
    height: usize,
}

/// Puts one document together.
struct Builder<'a> {
    limits: &'a Limits,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            problems: Vec::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span, budget: &mut usize) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(1, span, budget)?;
                let node = Node {
                    span,
                    value: Value::Scalar(scalar_of(&text, style, tag.as_deref())),
                };
                self.finish(node, anchor, 1, 0, budget)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.begin(span, anchor, OpenKind::List(Vec::new()), budget)
            }
            Event::MappingStart(_, anchor, _) => {
                let kind = OpenKind::Map {
                    entries: Vec::new(),
                    key: None,
                    merges: Vec::new(),
                };
                self.begin(span, anchor, kind, budget)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(budget),
            Event::Alias(id) => {
                let Some(anchored) = self.anchors.get(&id) else {
                    return Err(Problem {
                        code: codes::SYNTAX,
                        span,
                        message: "this alias stands inside the value it refers to".into(),
                        label: "",
                        help: "",
                        other: None,
                    });
                };
                let (size, height) = (anchored.size, anchored.height);
                self.fits(span, height)?;
                // Paid before it is copied: that is the whole point.
                self.spend(size, span, budget)?;
                let node = self.anchors.get(&id).map(|anchored| anchored.node.clone());
                match node {
                    Some(node) => self.finish(node, 0, size, height, budget),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn spend(&self, size: usize, span: Span, budget: &mut usize) -> Result<(), Problem> {
        *budget = budget.checked_sub(size).ok_or_else(|| {
            over_budget(
                span,
                format!(
                    "the text holds more than {} values once its aliases are expanded",
                    self.limits.nodes
                ),
            )
        })?;
        Ok(())
    }

    fn fits(&self, span: Span, height: usize) -> Result<(), Problem> {
        if self.open.len().saturating_add(height) < self.limits.depth {
            return Ok(());
        }
        Err(over_budget(
            span,
            format!(
                "lists and maps are nested more than {} deep",
                self.limits.depth
            ),
        ))
    }

    fn begin(
        &mut self,
        span: Span,
        anchor: usize,
        kind: OpenKind,
        budget: &mut usize,
    ) -> Result<(), Problem> {
        self.spend(1, span, budget)?;
        self.fits(span, 1)?;
        if let Some(Open {
            kind: OpenKind::Map { key: None, .. },
            ..
        }) = self.open.last()
        {
            return Err(complex_key(span));
        }
        self.open.push(Open {
            span,
            anchor,
            size: 1,
            height: 0,
            kind,
        });
        Ok(())
    }

    fn end(&mut self, budget: &mut usize) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map {
                entries, merges, ..
            } => Value::Map(self.close_map(entries, merges)),
        };
        let node = Node {
            span: Span {
                width: 0,
                ..open.span
            },
            value,
        };
        self.finish(node, open.anchor, open.size, open.height + 1, budget)
    }

    /// Duplicate keys are reported, the first stays; merged keys give way to written ones.
    fn close_map(&mut self, entries: Vec<(Key, Node)>, merges: Vec<Node>) -> Map {
        let mut seen: HashMap<Box<str>, Span> = HashMap::with_capacity(entries.len());
        let mut map = Map {
            entries: Vec::with_capacity(entries.len()),
        };
        for (key, node) in entries {
            if let Some(&first) = seen.get(&key.text) {
                self.problems.push(Problem {
                    code: codes::SYNTAX,
                    span: key.span,
                    message: format!("the key `{}` is written twice in one map", key.text),
                    label: "again",
                    help: "remove one of them; parsers disagree which one counts",
                    other: Some(first),
                });
            } else {
                seen.insert(key.text.clone(), key.span);
                map.entries.push((key, node));
            }
        }
        let mut known: HashSet<Box<str>> = HashSet::new();
        if !merges.is_empty() {
            known.extend(seen.into_keys());
        }
        for merge in merges {
            let span = merge.span;
            let sources = match merge.value {
                Value::Map(source) => vec![Some(source)],
                Value::List(items) => items
                    .into_iter()
                    .map(|item| match item.value {
                        Value::Map(source) => Some(source),
                        _ => None,
                    })
                    .collect(),
                Value::Scalar(_) => vec![None],
            };
            for source in sources {
                let Some(source) = source else {
                    self.problems.push(Problem {
                        code: codes::SYNTAX,
                        span,
                        message: "`<<` merges maps, and this is none".into(),
                        label: "",
                        help: "quote the key if it is meant literally",
                        other: None,
                    });
                    continue;
                };
                for (key, node) in source.entries {
                    if known.insert(key.text.clone()) {
                        map.entries.push((key, node));
                    }
                }
            }
        }
        map
    }

    /// Hands a finished value to what contains it.
    fn finish(
        &mut self,
        node: Node,
        anchor: usize,
        size: usize,
        height: usize,
        budget: &mut usize,
    ) -> Result<(), Problem> {
        if anchor != 0 {
            self.spend(size, node.span, budget)?;
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    size,
                    height,
                },
            );
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.size = parent.size.saturating_add(size);
        parent.height = parent.height.max(height);
        match &mut parent.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map {
                entries,
                key,
                merges,
            } => match key.take() {
                None => {
                    let Value::Scalar(scalar) = node.value else {
                        return Err(complex_key(node.span));
                    };
                    *key = Some(Key {
                        text: scalar.text,
                        span: node.span,
                    });
                }
                Some(written) if &*written.text == "<<" => merges.push(node),
                Some(written) => entries.push((written, node)),
            },
        }
        Ok(())
    }
}

fn complex_key(span: Span) -> Problem {
    Problem {
        code: codes::SYNTAX,
        span,
        message: "a key must be a word, not a list or map".into(),
        label: "used as a key",
        help: "text that begins with `{`, `[` or `*` needs quotes",
        other: None,
    }
}

fn scalar_of(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Scalar {
    let kind = match tag.and_then(Tag::core_suffix) {
        Some("str") => Kind::Text,
        // Other core tags say what the plain reading would say, also of a quoted word.
        Some(_) => scalar::plain(text),
        None if style == ScalarStyle::Plain => scalar::plain(text),
        None => Kind::Text,
    };
    Scalar {
        text: text.into(),
        kind,
    }
}
