//! How much a text may ask for.

/// Budgets of one [`parse`](crate::parse). A text that exceeds one is cut there with a `PM0002`
/// finding; what was read before stays valid, and the result is marked incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one text. 16 MiB is ten times what Kubernetes stores in one object.
    pub bytes: usize,
    /// Nodes (scalars, lists, maps) after aliases are expanded: what an "alias bomb" multiplies.
    pub nodes: usize,
    /// How deep lists and maps nest. Readers of the tree recurse, so this also bounds the stack.
    pub depth: usize,
    /// Findings kept for one text; one more says how many were left out.
    pub findings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            nodes: 1_000_000,
            depth: 64,
            findings: 1_000,
        }
    }
}
