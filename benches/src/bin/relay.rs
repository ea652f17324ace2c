//! `relay LISTEN UPSTREAM [LISTEN UPSTREAM ...]`: copies bytes, parses nothing. The floor of the
//! side-by-side comparison.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let addresses = std::env::args()
        .skip(1)
        .map(|word| {
            word.parse()
                .with_context(|| format!("`{word}` is not ADDRESS:PORT"))
        })
        .collect::<anyhow::Result<Vec<SocketAddr>>>()?;
    let (routes, rest) = addresses.as_chunks::<2>();
    if routes.is_empty() || !rest.is_empty() {
        bail!("usage: relay LISTEN UPSTREAM [LISTEN UPSTREAM ...]");
    }
    let routes: Vec<_> = routes
        .iter()
        .map(|[front, upstream]| (*front, *upstream))
        .collect();
    pointsman_benches::relay::run(&routes).context("relay")
}
