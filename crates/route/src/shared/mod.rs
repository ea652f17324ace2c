//! Containers whose copies share what they have in common: a table that differs from its
//! predecessor in one backend or one host is then made without copying all others. Looking
//! something up costs one step more than in a plain container; see `docs/performance.md`.
mod chunks;
mod shards;

pub(crate) use chunks::Chunks;
pub(crate) use shards::Shards;
