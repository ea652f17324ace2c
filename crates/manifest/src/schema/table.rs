//! The table, read once from its text.
use foldhash::HashMap;
use std::sync::OnceLock;

/// What a product that routes makes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what the API promises.
    Supported,
    /// Known, but nothing acts on it yet.
    NotYet,
    /// Known, and without meaning for routing.
    Quiet,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Text. A plain `yes` or `1` is none.
    Text,
    /// A switch.
    Bool,
    /// A whole number.
    Int,
    /// A whole number, 0 and up.
    Uint,
    /// A port, 1..=65535.
    Port,
    /// Any number.
    Number,
    /// A number, 0..=100.
    Percent,
    /// A duration; the switch allows less than 1 ms.
    Duration {
        /// May it be zero?
        zero: bool,
    },
    /// A moment (RFC 3339).
    Time,
    /// An IP address or range.
    Cidr,
    /// Bytes in base64.
    Base64,
    /// A number or a name.
    IntOrText,
    /// One word of a list, each with its standing.
    Enum(Vec<(&'static str, Standing)>),
    /// A list.
    List(Box<Type>),
    /// A map with free keys.
    Map(Box<Type>),
    /// A block of the table, by name.
    Block(&'static str),
    /// Not looked into.
    Any,
}

/// One field of a block.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name as documents write it.
    pub name: &'static str,
    /// Type of its value.
    pub ty: Type,
    /// Must it be there?
    pub required: bool,
    /// What becomes of it.
    pub standing: Standing,
    /// Does traffic go wrong, and not only go without something, while nothing acts on it?
    pub grave: bool,
    /// What happens instead, for fields that are not acted upon.
    pub note: &'static str,
}

/// The fields of a map.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) fields: Vec<Field>,
    /// May it hold fields the table does not name?
    pub(crate) open: bool,
    /// Is a field the table does not name a reason to set the document aside? Of a condition it
    /// is: one that is ignored makes its rule take more than was meant.
    pub(crate) strict: bool,
}

impl Block {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A kind of document: its word, API group and versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKind {
    /// The word used in `kind:`.
    pub name: &'static str,
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Versions that are read.
    pub versions: Vec<&'static str>,
}

/// All blocks.
#[derive(Debug, Default)]
pub struct Table {
    blocks: HashMap<&'static str, Block>,
    kinds: Vec<KnownKind>,
    faults: Vec<String>,
}

/// The table of everything that is read.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        Table::read(&[
            include_str!("../../schema/kubernetes.schema"),
            include_str!("../../schema/istio.schema"),
            include_str!("../../schema/mesh.schema"),
        ])
    })
}

impl Table {
    /// The kinds of documents.
    pub fn kinds(&self) -> impl Iterator<Item = &KnownKind> {
        self.kinds.iter()
    }

    /// A field by its path from a kind, lists and free keys left out: `Pod.spec.nodeName`.
    pub fn field(&self, path: &str) -> Option<&Field> {
        let mut words = path.split('.');
        let mut block = self.blocks.get(words.next()?)?;
        let mut found = None;
        for word in words {
            let field = block.field(word)?;
            found = Some(field);
            let mut ty = &field.ty;
            while let Type::List(inner) | Type::Map(inner) = ty {
                ty = inner;
            }
            static NOTHING: OnceLock<Block> = OnceLock::new();
            block = match ty {
                Type::Block(name) => self.blocks.get(name)?,
                _ => NOTHING.get_or_init(Block::default),
            };
        }
        found
    }

    pub(crate) fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.get(name)
    }

    /// Lines of the table that make no sense. A test keeps this empty; at run time such a line is
    /// left out, and its field is unknown.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    fn read(texts: &[&'static str]) -> Self {
        let mut table = Self::default();
        for text in texts {
            let mut name = "";
            for line in text.lines() {
                let words = line.trim();
                if words.is_empty() || words.starts_with('#') {
                    continue;
                }
                if line.starts_with(' ') {
                    match field(words) {
                        Some(field) => {
                            if let Some(block) = table.blocks.get_mut(name) {
                                block.fields.push(field);
                            }
                        }
                        None => table.faults.push(line.to_owned()),
                    }
                } else {
                    name = table.heading(words);
                }
            }
        }
        let missing: Vec<String> = table
            .blocks
            .values()
            .flat_map(|block| &block.fields)
            .filter_map(|field| {
                let mut ty = &field.ty;
                while let Type::List(inner) | Type::Map(inner) = ty {
                    ty = inner;
                }
                match ty {
                    Type::Block(name) if !table.blocks.contains_key(name) => {
                        Some(format!("{} refers to {name}", field.name))
                    }
                    _ => None,
                }
            })
            .collect();
        table.faults.extend(missing);
        table
    }

    fn heading(&mut self, line: &'static str) -> &'static str {
        let mut words = line.split_whitespace();
        let (word, name) = (words.next(), words.next().unwrap_or_default());
        let mut block = Block::default();
        match word {
            Some("type") => {}
            Some("open") => block.open = true,
            Some("strict") => block.strict = true,
            Some("kind") => {
                let api = words.next().unwrap_or_default();
                let (group, versions) = api.split_once('/').unwrap_or(("", api));
                self.kinds.push(KnownKind {
                    name,
                    group,
                    versions: versions.split(',').collect(),
                });
                for (name, ty, required) in [
                    ("apiVersion", Type::Text, true),
                    ("kind", Type::Text, true),
                    ("metadata", Type::Block("ObjectMeta"), true),
                ] {
                    block.fields.push(Field {
                        name,
                        ty,
                        required,
                        standing: Standing::Supported,
                        grave: false,
                        note: "",
                    });
                }
            }
            _ => self.faults.push(line.to_owned()),
        }
        if self.blocks.insert(name, block).is_some() {
            self.faults.push(format!("{name} is there twice"));
        }
        name
    }
}

fn field(line: &'static str) -> Option<Field> {
    let (mark, rest) = line.split_once(' ')?;
    let (standing, rest) = match (mark, rest) {
        ("-" | "-!", rest) => (Standing::NotYet, rest),
        (".", rest) => (Standing::Quiet, rest),
        _ => (Standing::Supported, line),
    };
    let (name, rest) = rest.split_once(' ')?;
    let (ty, note) = rest.split_once(' ').unwrap_or((rest, ""));
    let note = note.trim().trim_matches('"');
    // A field nothing acts on must say what happens instead.
    if standing == Standing::NotYet && note.is_empty() {
        return None;
    }
    Some(Field {
        name: name.trim_end_matches('!'),
        ty: type_of(ty)?,
        required: name.ends_with('!'),
        standing,
        grave: mark == "-!",
        note,
    })
}

fn type_of(word: &'static str) -> Option<Type> {
    if let Some(inner) = enclosed(word, "[", "]") {
        return Some(Type::List(Box::new(type_of(inner)?)));
    }
    if let Some(inner) = enclosed(word, "{", "}") {
        return Some(Type::Map(Box::new(type_of(inner)?)));
    }
    if let Some(inner) = enclosed(word, "enum(", ")") {
        let words = inner.split('|').map(|word| match word.strip_prefix('-') {
            Some(word) => (word, Standing::NotYet),
            None => (word, Standing::Supported),
        });
        return Some(Type::Enum(words.collect()));
    }
    Some(match word {
        "string" => Type::Text,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "port" => Type::Port,
        "number" => Type::Number,
        "percent" => Type::Percent,
        "duration" => Type::Duration { zero: false },
        "duration0" => Type::Duration { zero: true },
        "time" => Type::Time,
        "cidr" => Type::Cidr,
        "base64" => Type::Base64,
        "intOrString" => Type::IntOrText,
        "any" => Type::Any,
        name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Type::Block(name),
        _ => return None,
    })
}

fn enclosed(word: &'static str, open: &str, close: &str) -> Option<&'static str> {
    word.strip_prefix(open)?.strip_suffix(close)
}
