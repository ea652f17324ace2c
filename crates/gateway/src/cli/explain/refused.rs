//! Requests that are refused before a rule is asked.
use super::{answer::Answer, question::Question};
use pointsman_wire::http1::Refusal;
use serde_json::{Value, json};

/// What is to be explained.
#[derive(Debug)]
pub(super) enum Subject {
    /// Traffic.
    Traffic(Box<Question>),
    /// Nothing that could be asked again: the log says that it was refused.
    Refused(Box<Refused>),
}

/// A request that is refused, and why.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) answer: Answer,
    /// A sentence.
    pub(super) why: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            answer: Answer::refused(&refusal),
            why: refusal.to_string(),
        }
    }
}

impl Refused {
    /// `=> refused with 400 (bad_target), no rule is asked: ...`.
    pub(super) fn sentence(&self) -> String {
        let mut text = "refused".to_owned();
        if let Some(status) = self.answer.status {
            text.push_str(&format!(" with {status}"));
        }
        if let Some(reason) = self.answer.reason {
            text.push_str(&format!(" ({reason})"));
        }
        format!("{text}, no rule is asked: {}", self.why)
    }

    /// In the form of all answers.
    pub(super) fn json(&self, notes: &[String]) -> Value {
        json!({
            "version": 1,
            "outcome": "refused",
            "status": self.answer.status,
            "sentence": self.sentence(),
            "answer": self.answer,
            "notes": notes,
            "protocol": null,
            "frontends": [],
            "rules": null,
            "backends": [],
        })
    }
}
