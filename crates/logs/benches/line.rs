//! Instructions per line: `valgrind --tool=callgrind` over this program with two counts, divided by their difference.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use transom_api::testing::FakeRecord;
use transom_api::{HeaderMap, Node, Record};
use transom_logs::format::{DEFAULT, Format};

fn main() {
    // `cargo test --benches` and `cargo bench` pass options of their own.
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    let count = numbers.first().copied().unwrap_or(1_000);
    let request = HeaderMap::RequestHeaders;
    let mut record = FakeRecord::new()
        .with_header(request, ":method", b"GET")
        .with_header(request, ":path", b"/api/v1/items?page=3")
        .with_header(request, ":authority", b"api.example.test")
        .with_header(
            request,
            "user-agent",
            b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        )
        .with_header(
            request,
            "x-request-id",
            b"0d7f1e2c-9b1a-4b8e-8d2f-1f6a3c5b7e90",
        );
    record.facts.protocol = Some("HTTP/1.1");
    record.facts.status = 200;
    record.facts.duration = Duration::from_millis(12);
    record.facts.bytes_sent = 1_234;
    record.facts.upstream_host = Some("127.0.0.1:8080");
    record.facts.remote = Some(SocketAddr::from(([192, 0, 2, 7], 40_000)));
    let format = if std::env::args().any(|word| word == "json") {
        Format::json(&Node::map([
            ("time", "%START_TIME%".into()),
            ("method", "%METHOD%".into()),
            ("path", "%REQ(:PATH)%".into()),
            ("status", "%RESPONSE_CODE%".into()),
            ("bytes", "%BYTES_SENT%".into()),
            ("ms", "%DURATION%".into()),
            ("client", "%DOWNSTREAM_REMOTE_ADDRESS%".into()),
            ("agent", "%REQ(USER-AGENT)%".into()),
            ("id", "%REQ(X-REQUEST-ID)%".into()),
            ("host", "%UPSTREAM_HOST%".into()),
        ]))
    } else {
        Ok(Format::text(DEFAULT).unwrap_or_else(|error| panic!("{error:?}")))
    };
    let format = format.unwrap_or_else(|error| panic!("{error:?}")).line();
    let mut out = Vec::with_capacity(64 << 10);
    for _ in 0..count {
        format.write(&Record::new(black_box(&record)), &mut out);
        if out.len() > 60 << 10 {
            black_box(&out);
            out.clear();
        }
    }
    println!("{count} lines, the last buffer has {} bytes", out.len());
}
