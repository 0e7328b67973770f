//! What passes does not stay: memory while large bodies go through, and while nobody takes them.

use std::io::Read;
use std::time::Duration;

use transom_e2e::{Client, Message, Upstream};

use crate::program::{Program, configuration};

const MIB: usize = 1 << 20;

/// Two filters in the chain.
fn filtered(upstream: &Upstream) -> String {
    configuration(upstream.address(), "").replace(
        "          virtual_hosts:",
        "          stream_filters: [{name: noop}, {name: noop, id: second}]\n          virtual_hosts:",
    )
}

#[test]
fn large_bodies_pass_both_ways_in_little_memory() {
    const PIECES: usize = 256;
    let upstream = Upstream::serving(|mut connection| {
        let head = Message::read_head(connection.client.reader());
        if !matches!(head, Ok(Some(_))) {
            return;
        }
        let mut piece = vec![0; MIB];
        for _ in 0..PIECES {
            connection.client.reader().read_exact(&mut piece).unwrap();
        }
        let length = MIB * PIECES;
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        for _ in 0..PIECES {
            connection.send(&piece);
        }
    });
    let program = Program::start(&filtered(&upstream));
    let mut client = Client::connect(program.address);
    let length = MIB * PIECES;
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
    ));
    let mut piece = vec![b'x'; MIB];
    for _ in 0..PIECES {
        client.send(&piece);
    }
    assert_eq!(client.head().status(), 200);
    for _ in 0..PIECES {
        client.reader().read_exact(&mut piece).unwrap();
    }
    let (_, most) = program.memory();
    assert!(most < 64 * MIB as u64, "{} MiB", most / MIB as u64);
}

#[test]
fn a_client_whose_reading_stops_leaves_memory_as_it_is() {
    const PIECES: usize = 128;
    let (send, sent) = std::sync::mpsc::channel();
    let upstream = Upstream::serving(move |mut connection| {
        if !matches!(connection.request(), Ok(Some(_))) {
            return;
        }
        let length = MIB * PIECES;
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        let piece = vec![b'x'; MIB];
        for number in 0..PIECES {
            connection.send(&piece);
            // The test has ended when nobody wants to know.
            let _ = send.send(number);
        }
    });
    let program = Program::start(&filtered(&upstream));
    let mut client = Client::connect(program.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    let (before, _) = program.memory();
    let mut taken = 0;
    while sent.recv_timeout(Duration::from_millis(200)).is_ok() {
        taken += 1;
    }
    // The allocator takes memory of the system in pieces of 4 MiB.
    let (stopped, _) = program.memory();
    assert!(taken < PIECES / 2, "{taken} MiB were taken of the upstream");
    assert!(
        stopped < before + 8 * MIB as u64,
        "from {before} to {stopped} bytes"
    );
    assert_eq!(client.bytes(MIB * PIECES).len(), MIB * PIECES);
}
