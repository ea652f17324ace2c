//! The codes this crate raises.
use pointsman_model::Code;

/// The same document is brought twice: by two files, or by two sources. The first serves.
pub const BROUGHT_TWICE: Code = Code(33);
/// A file or folder that is there cannot be read.
pub const UNREADABLE: Code = Code(31);
/// A path given to the files source leads to nothing.
pub const NOTHING_THERE: Code = Code(32);
/// A file that held documents is empty.
pub const EMPTIED: Code = Code(34);
/// A name in a document cannot be looked up in DNS.
pub const NOT_RESOLVED: Code = Code(313);
/// Our own code failed on these documents; what served before keeps serving.
pub const INTERNAL: Code = Code(901);
/// A source has not said everything it knows, and the catalogue waits for it.
pub const WAITING: Code = Code(902);
