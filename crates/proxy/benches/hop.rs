//! What it costs to be one hop of many, in nanoseconds for each request: `cargo bench -p transom-proxy --bench hop`.
//!
//! Each figure is the best of rounds with the option, less the best of rounds that only decode the request.

use std::hint::black_box;
use std::time::Instant;

use transom_config::{Forwarded, ForwardedMode, HopOptions, RequestId, Trace, Trust};
use transom_proxy::HopCost;

const ROUNDS: usize = 200;
const TURNS: usize = 2_000;

const PLAIN: &str = "User-Agent: probe\r\nAccept: */*\r\nCookie: a=b\r\n";
const FORGED: &str = "User-Agent: probe\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.1\r\n";

fn main() {
    let forwarded = |mode| Forwarded {
        mode,
        ..Forwarded::default()
    };
    let request_id = Some(RequestId {
        generate: true,
        preserve: false,
        in_response: false,
    });
    let trace = Some(Trace {
        generate: true,
        sample: 1.0,
        span: true,
        trusted_only: false,
    });
    let networks = Trust::Networks(
        ["10.0.0.0/8", "127.0.0.0/8"]
            .iter()
            .filter_map(|network| network.parse().ok())
            .collect(),
    );
    let none = HopOptions::default;
    for (name, options, lines) in [
        ("default, three fields", none(), PLAIN),
        ("default, a forged one", none(), FORGED),
        (
            "forwarded: set",
            HopOptions {
                forwarded: forwarded(ForwardedMode::Set),
                ..none()
            },
            PLAIN,
        ),
        (
            "forwarded: append, trusted",
            HopOptions {
                forwarded: forwarded(ForwardedMode::Append),
                trust: networks,
                ..none()
            },
            FORGED,
        ),
        (
            "request_id",
            HopOptions {
                request_id,
                ..none()
            },
            PLAIN,
        ),
        ("trace: generate", HopOptions { trace, ..none() }, PLAIN),
    ] {
        match HopCost::new(&options, lines) {
            Ok(cost) => println!("{name:<28}{:>8.1} ns", measure(cost)),
            Err(error) => println!("{name}: {error}"),
        }
    }
}

fn measure(mut cost: HopCost) -> f64 {
    let (mut with, mut without) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TURNS {
            let decoded = cost.decode();
            let _ = black_box(decoded);
        }
        without = without.min(start.elapsed().as_nanos() as f64 / TURNS as f64);
        let start = Instant::now();
        for _ in 0..TURNS {
            let decoded = cost.decode();
            let _ = black_box(decoded);
            cost.receive();
        }
        with = with.min(start.elapsed().as_nanos() as f64 / TURNS as f64);
    }
    with - without
}
