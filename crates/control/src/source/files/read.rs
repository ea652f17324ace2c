//! From a file's bytes to what its documents say.
use crate::codes;
use pointsman_manifest::Input;
use pointsman_model::{Finding, Level, Object, ObjectKey, Place};
use std::{
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// What one file says.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// Documents in order; `None` for one that is set aside.
    pub(super) documents: Vec<(ObjectKey, Place, Option<Object>)>,
    /// About these documents.
    pub(super) findings: Vec<Finding>,
    /// Is a document that is not among them gone? False when the file could not be read to its
    /// end, or a document does not say which one it is.
    pub(super) complete: bool,
    /// Is there nothing but blanks?
    pub(super) blank: bool,
}

/// Reads at most `max_bytes` of text.
///
/// # Errors
/// When it cannot be read, is larger, or is not UTF-8.
pub fn text(from: impl Read, max_bytes: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
        return Err(io::Error::other(format!(
            "it is larger than {max_bytes} bytes (max_file_bytes)"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::other(format!("it is not UTF-8 text (byte {at})"))
    })
}

/// Parses. A panic of the parser is an error of this one file.
pub(super) fn parse(
    file: &Arc<str>,
    text: &str,
    default_namespace: &str,
    cluster_domain: &str,
) -> Result<Content, Box<Finding>> {
    let input = Input {
        file: Arc::clone(file),
        text,
        default_namespace,
        cluster_domain,
    };
    let parsed = catch_unwind(AssertUnwindSafe(|| pointsman_manifest::parse(&input)))
        .map_err(|payload| Box::new(failure(file, panic_message(&*payload))))?;
    let mut complete = parsed.complete;
    let mut documents = Vec::with_capacity(parsed.documents.len());
    for document in parsed.documents {
        match document.key {
            Some(key) => documents.push((key, document.place, document.result.ok())),
            None => complete = false,
        }
    }
    Ok(Content {
        documents,
        findings: parsed.findings,
        complete,
        blank: text.trim().is_empty(),
    })
}

fn failure(file: &Arc<str>, cause: &str) -> Finding {
    Finding::new(
        codes::INTERNAL,
        Level::Error,
        format!("reading {file} failed inside Pointsman: {cause}"),
    )
    .at(&Place::new(Arc::clone(file), 1, 1))
    .effect("what the file held keeps serving as last read")
    .help("this is a defect of Pointsman; please report it with the file")
}

/// What a panic said, as far as it was text.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
