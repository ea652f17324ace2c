//! HTTP/1 heads: reading one strictly, and writing it anew for the upstream. This is the work a
//! request costs beyond copying its bytes, before any routing.

use divan::Bencher;
use divan::counter::BytesCount;
use pointsman_benches::traffic::{HTTP_HOST, answer, realistic_request, small_request};
use pointsman_wire::http1::{
    HeadLimits, RequestKind, RequestRewrite, field_slots, parse_request, parse_response,
    write_request,
};

fn main() {
    divan::main();
}

/// The requests of the rows `http-small` and `http-realistic`.
const REQUESTS: [&str; 2] = ["small", "realistic"];

fn request(name: &str) -> Vec<u8> {
    if name == "small" {
        small_request(HTTP_HOST)
    } else {
        realistic_request(HTTP_HOST)
    }
}

#[divan::bench(args = REQUESTS, sample_size = 1_000)]
fn read_request(bencher: Bencher<'_, '_>, name: &str) {
    let (bytes, limits) = (request(name), HeadLimits::default());
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let mut slots = field_slots();
        let head = parse_request(divan::black_box(&bytes), &mut slots, &limits);
        head.expect("well formed").expect("complete").len
    });
}

#[divan::bench(args = REQUESTS, sample_size = 1_000)]
fn read_and_write_request(bencher: Bencher<'_, '_>, name: &str) {
    let (bytes, limits) = (request(name), HeadLimits::default());
    let mut out = Vec::with_capacity(4096);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| {
            let mut slots = field_slots();
            let head = parse_request(divan::black_box(&bytes), &mut slots, &limits);
            let head = head.expect("well formed").expect("complete");
            out.clear();
            write_request(&mut out, &head, &RequestRewrite::default(), head.body, &[]);
            out.len()
        });
}

#[divan::bench(sample_size = 1_000)]
fn read_response(bencher: Bencher<'_, '_>) {
    let (bytes, limits) = (answer(0), HeadLimits::default());
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let mut slots = field_slots();
        let head = parse_response(
            divan::black_box(&bytes),
            &mut slots,
            &limits,
            RequestKind::Other,
        );
        head.expect("well formed").expect("complete").len
    });
}
