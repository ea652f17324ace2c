//! What people are told about their documents.
use crate::{ObjectKey, Place};
use std::{borrow::Cow, fmt};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// It serves, but probably not as meant.
    Warning,
    /// A document or a part of it is set aside.
    Error,
}

impl Level {
    /// `error`, `warning` or `info`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A stable number, printed `PM0101`. 00xx reading, 01xx references, 02xx rules, 03xx capture and
/// addresses, 09xx the process. The numbers in use are listed by the crates that raise them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PM{:04}", self.0)
    }
}

/// A second place that belongs to a finding: where the reference should have pointed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub place: Place,
    /// What is there.
    pub label: String,
}

/// One finding: cause, effect and what to do, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable code.
    pub code: Code,
    /// How bad.
    pub level: Level,
    /// The document, where it could be named.
    pub object: Option<ObjectKey>,
    /// Where; `None` for findings about the process.
    pub place: Option<Place>,
    /// Length in characters of what is underlined at `place`; 0: one mark.
    pub width: u32,
    /// The cause, one plain sentence without a full stop.
    pub message: String,
    /// A few words at the underline.
    pub label: String,
    /// What it means for traffic.
    pub effect: String,
    /// What to do; empty where nothing can be advised.
    pub help: Cow<'static, str>,
    /// The other place.
    pub related: Option<Related>,
}

impl Finding {
    /// A finding with everything but cause and level left empty.
    pub fn new(code: Code, level: Level, message: impl Into<String>) -> Self {
        Self {
            code,
            level,
            object: None,
            place: None,
            width: 0,
            message: message.into(),
            label: String::new(),
            effect: String::new(),
            help: Cow::Borrowed(""),
            related: None,
        }
    }

    /// Names the document.
    pub fn of(mut self, object: &ObjectKey) -> Self {
        self.object = Some(object.clone());
        self
    }

    /// Names the place.
    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// Underlines `width` characters with a few words.
    pub fn label(mut self, width: u32, label: impl Into<String>) -> Self {
        self.width = width;
        self.label = label.into();
        self
    }

    /// Says what it means for traffic.
    pub fn effect(mut self, effect: impl Into<String>) -> Self {
        self.effect = effect.into();
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<Cow<'static, str>>) -> Self {
        self.help = help.into();
        self
    }

    /// Names the other place.
    pub fn related(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.related = Some(Related {
            place: place.clone(),
            label: label.into(),
        });
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}[{}]: {}",
            self.level.as_str(),
            self.code,
            self.message
        )?;
        if let Some(place) = &self.place {
            write!(f, " ({place})")?;
        }
        Ok(())
    }
}
