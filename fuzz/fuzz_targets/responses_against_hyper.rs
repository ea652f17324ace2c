#![no_main]

#[path = "../src/in_memory.rs"]
mod in_memory;

#[path = "../src/responses_against_hyper.rs"]
mod responses_against_hyper;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    responses_against_hyper::responses_against_hyper(bytes);
});
