//! One endpoint changed: what it costs until requests see it.
//!
//! `compile` runs on a thread of its own beside the traffic, once per change whatever the number
//! of shards. `swap` is what stops each shard's traffic meanwhile: a view with one empty cell per
//! backend is made and takes the place of the old one. The dataplane's own type is private to it,
//! so its twin is measured. `let_go` is the end of the replaced table, paid by whichever thread
//! served from it last; what both tables have in common is shared and stays.
//!
//! Not measured: reading the document, the time for which changes are gathered, the message to
//! the shard (see `message`), and the first use of each backend by the new view.

use divan::Bencher;
use pointsman_model::{ClientContext, World};
use pointsman_route::{Snapshot, Table};
use std::cell::{OnceCell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

mod world;

/// The product's allocator, which has a share in these figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Services, each with an EndpointSlice.
const SERVICES: [u32; 3] = [10, 1_000, 10_000];

/// A table, and the world in which one endpoint of it has moved.
fn change(services: u32) -> (Table, World) {
    let mut world = world::world(services);
    let before = Table::compile(&world, &ClientContext::default(), None).table;
    world.upsert(world::endpoint(services / 2, Ipv4Addr::new(10, 0, 0, 2)));
    (before, world)
}

fn recompile(before: &Table, world: &World) -> Table {
    let compiled = Table::compile(world, &ClientContext::default(), Some(before));
    assert!(compiled.changed, "the change had no effect");
    compiled.table
}

#[divan::bench(args = SERVICES, sample_count = 50, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, services: u32) {
    let (before, world) = change(services);
    bencher.bench(|| recompile(&before, divan::black_box(&world)));
}

#[divan::bench(args = SERVICES, sample_count = 50, sample_size = 1)]
fn let_go(bencher: Bencher<'_, '_>, services: u32) {
    let (before, world) = change(services);
    bencher
        .with_inputs(|| recompile(&before, &world))
        .bench_values(drop);
}

/// As the dataplane's view: the snapshot, and a place for the state of each backend.
struct View {
    snapshot: Arc<Snapshot>,
    clusters: Box<[OnceCell<Rc<u64>>]>,
}

impl View {
    fn new(snapshot: Arc<Snapshot>) -> View {
        let cells = snapshot.tables.mesh().clusters().map(|_| OnceCell::new());
        let clusters = cells.collect();
        View { snapshot, clusters }
    }
}

#[divan::bench(args = SERVICES, sample_size = 100)]
fn swap(bencher: Bencher<'_, '_>, services: u32) {
    let (table, _) = change(services);
    let snapshot = Arc::new(Snapshot {
        generation: 1,
        tables: table.into(),
    });
    let view = RefCell::new(Rc::new(View::new(Arc::clone(&snapshot))));
    bencher.bench_local(|| {
        *view.borrow_mut() = Rc::new(View::new(Arc::clone(&snapshot)));
    });
    let view = view.borrow();
    assert_eq!(view.clusters.len(), services as usize);
    assert_eq!(view.snapshot.generation, 1);
}
