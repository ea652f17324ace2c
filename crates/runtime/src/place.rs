//! Where code runs: the names of the process's threads.

use std::cell::Cell;
use std::fmt;

/// One traffic thread: 0 up to, not including, the number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard's position in a list with one entry per shard.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard-{}", self.0)
    }
}

/// A thread as logs, metrics and the operating system name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A traffic thread, `shard-0` and up.
    Shard(ShardId),
    /// The one thread for everything that is not traffic, `control`.
    Control,
    /// Any other thread: `main`, a test, an embedding program.
    Elsewhere,
}

thread_local! {
    static HERE: Cell<Place> = const { Cell::new(Place::Elsewhere) };
}

impl Place {
    /// The place of the calling thread.
    pub fn here() -> Place {
        HERE.get()
    }

    /// Declares the calling thread to be this place, and names it so for the operating system.
    ///
    /// The thread was made by actix, whose name for it (`actix-rt|system:0|arbiter:3`) cannot be
    /// chosen; without this, `top` and `perf` would show fifteen letters of that for every shard.
    pub(crate) fn settle(self) {
        HERE.set(self);
        #[cfg(target_os = "linux")]
        if let Ok(name) = std::ffi::CString::new(self.to_string()) {
            // A refused name costs only legibility.
            let _ = rustix::thread::set_name(&name);
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Shard(id) => id.fmt(f),
            Place::Control => f.write_str("control"),
            Place::Elsewhere => f.write_str("elsewhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_where_it_is() {
        let seen = std::thread::spawn(|| {
            assert_eq!(Place::here(), Place::Elsewhere);
            Place::Shard(ShardId(3)).settle();
            Place::here()
        });
        assert_eq!(seen.join().unwrap().to_string(), "shard-3");
        assert_eq!(Place::here().to_string(), "elsewhere");
    }
}
