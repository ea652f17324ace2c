//! What an extension author imports.
#![forbid(unsafe_code)]
