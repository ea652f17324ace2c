#![no_main]

#[path = "../src/in_memory.rs"]
mod in_memory;

#[path = "../src/against_hyper.rs"]
mod against_hyper;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| against_hyper::against_hyper(bytes));
