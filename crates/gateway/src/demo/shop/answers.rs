//! What each server says. Every answer names the pod and the Host it was asked for.
use super::{
    ask::ask,
    http::Request,
    roster::{DETAILS, Member, RATINGS, REVIEWS, Role},
};
use serde::Serialize;
use serde_json::Value;
use std::{fmt::Write as _, time::Duration};

/// What is sent back.
#[derive(Debug)]
pub(super) enum Answer {
    Whole {
        status: &'static str,
        kind: &'static str,
        body: String,
    },
    /// Lines without end.
    Stream,
}

impl Answer {
    pub(super) fn text(status: &'static str, body: String) -> Self {
        Self::Whole {
            status,
            kind: "text/plain",
            body,
        }
    }
}

/// One line of JSON: first who answered, then what was asked for, then what is known.
#[derive(Serialize)]
struct Line<'a> {
    pod: &'static str,
    service: &'static str,
    version: &'static str,
    host: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<&'a str>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Book {
        title: &'static str,
        author: &'static str,
        year: u16,
        pages: u16,
    },
    Review {
        review: &'static str,
        #[serde(flatten)]
        stars: Option<Stars>,
    },
    Rating {
        stars: u8,
    },
    Said {
        says: &'static str,
    },
}

#[derive(Serialize)]
struct Stars {
    stars: Value,
    color: &'static str,
    rated_by: Value,
}

/// The answer of one server. `sni`: the server name of the TLS connection, if it is one.
pub(super) async fn answer(
    member: &'static Member,
    network: u8,
    request: &Request,
    sni: Option<&str>,
) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    let said = |says| Content::Said { says };
    let content = match (member.role, path) {
        (Role::Page, _) => return page(member, network, request).await,
        (Role::Details, "/stream") => return Answer::Stream,
        (Role::Details, "/slow") => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            said("that took a second")
        }
        (Role::Details, _) => Content::Book {
            title: "The Comedy of Errors",
            author: "William Shakespeare",
            year: 1595,
            pages: 200,
        },
        (Role::Reviews, _) => Content::Review {
            review: "Two pairs of twins and nobody asks for a name.",
            stars: stars(member, network, request).await,
        },
        (Role::Ratings, _) => Content::Rating { stars: 4 },
        (Role::Orders, _) => said("one book, on its way"),
        (Role::Payments, _) => said("paid"),
        (Role::Vault, _) => said("the secret is safe, the gateway could not read it"),
        // It has a protocol of its own and never comes here.
        (Role::Mysql, _) => said(""),
    };
    let line = Line {
        pod: member.pod,
        service: member.service,
        version: member.version,
        host: &request.host,
        path: &request.path,
        sni,
        content,
    };
    match serde_json::to_string(&line) {
        Ok(line) => Answer::Whole {
            status: "200 OK",
            kind: "application/json",
            body: line + "\n",
        },
        Err(error) => Answer::text("500 Internal Server Error", format!("{error}\n")),
    }
}

/// Version 1 shows no stars, version 2 black ones, version 3 red ones.
async fn stars(member: &Member, network: u8, request: &Request) -> Option<Stars> {
    let color = match member.version {
        "v2" => "black",
        "v3" => "red",
        _ => return None,
    };
    let user = request.end_user.as_deref();
    let (stars, rated_by) = match ask(RATINGS, network, "/ratings/1", user).await {
        Ok(rating) => (field(&rating, "stars"), field(&rating, "pod")),
        Err(reason) => (Value::Null, Value::String(reason)),
    };
    Some(Stars {
        stars,
        color,
        rated_by,
    })
}

fn field(value: &Value, name: &str) -> Value {
    value.get(name).cloned().unwrap_or_default()
}

/// The page: what details and reviews say, and who said it.
async fn page(member: &Member, network: u8, request: &Request) -> Answer {
    let user = request.end_user.as_deref();
    let (details, reviews) = tokio::join!(
        ask(DETAILS, network, "/details/1", user),
        ask(REVIEWS, network, "/reviews/1", user),
    );
    let mut out = format!("{} was asked for {}\n\n", member.pod, request.host);
    let _ = match details {
        Ok(book) => writeln!(
            out,
            "  {}, {}, {}\n      says {}",
            shown(&book, "title"),
            shown(&book, "author"),
            shown(&book, "year"),
            shown(&book, "pod")
        ),
        Err(reason) => writeln!(out, "  details: {reason}"),
    };
    let _ = match reviews {
        Ok(review) => {
            let stars = match review.get("stars") {
                None => "no stars".to_owned(),
                Some(Value::Null) => format!("no stars: {}", shown(&review, "rated_by")),
                Some(stars) => format!("{stars} {} stars", shown(&review, "color")),
            };
            writeln!(
                out,
                "  \"{}\" ({stars})\n      says {}",
                shown(&review, "review"),
                shown(&review, "pod")
            )
        }
        Err(reason) => writeln!(out, "  reviews: {reason}"),
    };
    Answer::text("200 OK", out)
}

/// A field as people read it: text without quotes.
fn shown(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    }
}
