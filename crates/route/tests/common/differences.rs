//! What a comparison of two tables says, in a line each, and whether its examples really differ.
use pointsman_route::{
    Class, Connection, Table,
    diff::{self, Diff, Effect, Example},
};

pub fn told(diff: &Diff) -> Vec<String> {
    let classes = diff.classes.iter().map(|class| {
        let (old, new) = (&class.old.effect.outcome, &class.new.effect.outcome);
        let also = match class.also.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{also}: {old} -> {new}", class.what)
    });
    let backends = diff
        .backends
        .iter()
        .map(|it| format!("{}: {}", it.label, it.changes.join(", ")));
    classes.chain(backends).collect()
}

pub fn effect(table: &Table, example: &Example) -> Effect {
    match example {
        Example::Request {
            original,
            sni,
            request,
            ..
        } => diff::of_request(table, *original, sni.as_deref(), request).0,
        Example::Connection {
            original,
            tls,
            sni,
            mesh_alpn,
        } => {
            let class = if *tls { Class::Tls } else { Class::Tcp };
            let connection = Connection {
                original: *original,
                source: None,
                class,
                sni: sni.as_deref(),
                mesh_alpn: *mesh_alpn,
            };
            diff::of_connection(table, &connection).0
        }
    }
}

pub fn all_examples_differ(old: &Table, new: &Table, diff: &Diff) {
    for class in &diff.classes {
        let (before, after) = (effect(old, &class.example), effect(new, &class.example));
        assert_ne!(before, after, "{class:?}");
        assert_eq!(before, class.old.effect, "{class:?}");
        assert_eq!(after, class.new.effect, "{class:?}");
    }
}
