#![no_main]

#[path = "../src/against_hyper.rs"]
mod against_hyper;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| against_hyper::against_hyper(bytes));
