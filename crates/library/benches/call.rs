//! The bare call of a filter's callback: in a library, and built in. `cargo bench -p transom-library --bench call` (needs `cc`).
//!
//! Both are called as the proxy calls them, through `dyn StreamFilter`, with the head of a request, and do nothing.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use criterion::{Criterion, criterion_group, criterion_main};
use transom_api::kind::StreamFilters;
use transom_api::testing::{FakeStream, FakeWorker};
use transom_api::{
    HeadersVerdict, Node, PrepareContext, Runtime as _, Stream, StreamFilter, StreamInstance,
};
use transom_library::{LibraryRuntime, Prober};

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request_headers");
    let mut built_in: Box<dyn StreamFilter> = Box::new(Nothing);
    let mut stream = FakeStream::new(Nothing);
    stream.with_context(|stream| {
        group.bench_function("built in", |bencher| {
            bencher.iter(|| black_box(&mut built_in).request_headers(stream, true));
        });
    });
    let mut library = noop_of_a_library();
    stream.with_context(|stream| {
        group.bench_function("library", |bencher| {
            bencher.iter(|| black_box(&mut library).request_headers(stream, true));
        });
    });
    group.finish();
}

/// A filter that is called and does nothing.
struct Nothing;

impl StreamFilter for Nothing {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        black_box((stream, end));
        HeadersVerdict::Continue
    }
}

/// The same out of `bench/libraries/noop.c`.
fn noop_of_a_library() -> Box<dyn StreamFilter> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let name = format!("transom-bench-{}.so", std::process::id());
    let library = std::env::temp_dir().join(name);
    let built = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-I"])
        .arg(root.join("sdk/c"))
        .arg("-o")
        .arg(&library)
        .arg(root.join("bench/libraries/noop.c"))
        .status();
    assert!(built.expect("cc can be run").success());

    // What is loaded here is known: nothing has to try it first.
    let runtime = LibraryRuntime::new(Prober::new("true", [""; 0]));
    let file = library.to_str().expect("a path of UTF-8");
    let plugin = runtime
        .parse("noop", &Node::map([("file", Node::from(file))]))
        .expect("a declaration");
    let mut worker = FakeWorker::new();
    let control = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let _entered = control.enter();
    let context = PrepareContext {
        instance: "noop".into(),
        workers: 1,
        metrics: worker.process().metrics(),
        shared: worker.process().shared().clone(),
        folder: Path::new("").into(),
        bounds: Default::default(),
    };
    control
        .block_on(plugin.prepare(context))
        .expect("the library is loaded");
    let _ = std::fs::remove_file(&library);
    let factory = plugin.find::<StreamFilters>("").expect("it has filters");
    let used = worker
        .stream_filter(factory, &Node::null())
        .expect("it takes any configuration");
    let part = std::rc::Rc::clone(used.part());
    match FakeStream::new(Nothing).with_context(|stream| part.stream(stream)) {
        Ok(StreamInstance::Own(filter)) => filter,
        _ => unreachable!("each stream has a filter of its own"),
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
