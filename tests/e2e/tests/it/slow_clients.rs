//! Limits of time hold whatever a client does to stretch them: it sends, or takes, a little at a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use transom_e2e::upstream::ok;
use transom_e2e::{PATIENCE, Plane, Setup, Upstream, tls};

/// The pause between two bytes: shorter than any limit here.
const PAUSE: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_millis(300);
/// What a busy machine may add to a limit; without the limit it would be [`PATIENCE`].
const SLACK: Duration = Duration::from_secs(2);

/// Sends a piece at a time, the last ones again and again, until the connection is closed. How long that took, and what came.
fn drip(stream: &TcpStream, pieces: &[&[u8]]) -> (Duration, String) {
    let began = Instant::now();
    let mut received = Vec::new();
    let mut pieces = pieces.iter().cycle();
    let mut stream = stream.try_clone().unwrap();
    stream.set_read_timeout(Some(PAUSE)).unwrap();
    while began.elapsed() < PATIENCE {
        // Whoever is not read any more is answered with a reset.
        let sent = stream.write_all(pieces.next().unwrap());
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(_) if sent.is_err() => break,
            Err(_) => {}
        }
    }
    (
        began.elapsed(),
        String::from_utf8_lossy(&received).into_owned(),
    )
}

#[track_caller]
fn assert_held(took: Duration) {
    assert!(
        took >= LIMIT && took < LIMIT + SLACK,
        "closed after {took:?}"
    );
}

/// The same until there is an answer: after it the proxy reads on for a while, which is not the limit's.
fn answered(plane: &Plane, begin: &str, pieces: &[&[u8]]) -> (Duration, String) {
    let mut client = plane.client();
    client.send(begin);
    let began = Instant::now();
    let mut stream = client.socket().try_clone().unwrap();
    stream.set_read_timeout(Some(PAUSE)).unwrap();
    let mut pieces = pieces.iter().cycle();
    let mut buffer = [0; 4096];
    while began.elapsed() < PATIENCE {
        // It may have closed already.
        let _ = stream.write_all(pieces.next().unwrap());
        match stream.read(&mut buffer) {
            Ok(count) => {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                return (began.elapsed(), text);
            }
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    panic!("no answer");
}

#[test]
fn a_head_that_comes_byte_by_byte_has_the_header_timeout() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("timeouts: {header: 300ms, idle: 60s}")
        .start();
    let (took, answer) = answered(&plane, "GET / HTTP/1.1\r\nHost: a\r\nx: ", &[b"y"]);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_held(took);
    // One field after the other, each whole.
    let (took, answer) = answered(&plane, "GET / HTTP/1.1\r\n", &[b"a: b\r\n"]);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_held(took);
    assert_eq!(upstream.requests().len(), 0);
}

/// Empty lines before a request are no request (RFC 9112 section 2.2): they buy no time, and two of them are enough.
#[test]
fn empty_lines_do_not_stretch_the_idle_timeout() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("timeouts: {header: 60s, idle: 1s}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.get("/").status(), 200);
    let began = Instant::now();
    for piece in ["\r", "\n", "\r", "\n"] {
        std::thread::sleep(PAUSE * 10);
        client.send(piece);
    }
    assert!(client.is_closed());
    // If each began the time anew it would be 1.6 s.
    let took = began.elapsed();
    let limit = Duration::from_secs(1);
    assert!(
        took >= limit && took < limit * 3 / 2,
        "closed after {took:?}"
    );
    let (_, answer) = drip(plane.client().socket(), &[b"\r\n"]);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn a_body_that_comes_byte_by_byte_has_the_stream_timeout() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("timeouts: {body_idle: 60s, stream: 300ms}")
        .start();
    for (framing, pieces) in [
        ("Content-Length: 100000", &[&b"x"[..]][..]),
        ("Transfer-Encoding: chunked", &[b"1\r\nx\r\n"]),
        // A chunk's size with zeros before it, and an extension without an end.
        ("Transfer-Encoding: chunked", &[b"0"]),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        let (took, answer) = answered(&plane, &head, pieces);
        let is_refused = answer.starts_with("HTTP/1.1 504") || answer.starts_with("HTTP/1.1 400");
        assert!(is_refused, "{framing}: {answer}");
        assert!(took < LIMIT + SLACK, "{framing}: {took:?}");
    }
}

#[test]
fn a_client_that_takes_little_at_a_time_has_the_stream_timeout() {
    let upstream = Upstream::answering(|_| ok(&"x".repeat(64 << 20)));
    let plane = Setup::to(&upstream)
        .option("timeouts: {write_idle: 60s, stream: 300ms}")
        .start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let began = Instant::now();
    let mut stream = client.socket().try_clone().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut taken = 0;
    // What the kernel holds is taken in larger pieces: it alone would take minutes.
    let mut buffer = vec![0; 256 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => taken += count,
        }
        std::thread::sleep(PAUSE);
        assert!(
            began.elapsed() < PATIENCE,
            "still served after {taken} bytes"
        );
    }
    assert!(taken < 64 << 20, "it was sent all");
}

#[test]
fn a_handshake_that_comes_byte_by_byte_is_ended() {
    let upstream = Upstream::ok("up");
    let folder = tls::Folder::new();
    let pair = folder.pair("a", &tls::Authority::new("test").sign(&["a.test"]));
    let plane = Setup::to(&upstream)
        .listener_option(&format!(
            "tls: {{certificates: [{{{pair}}}], handshake_timeout: 300ms}}"
        ))
        .start();
    let stream = TcpStream::connect(plane.address("in")).unwrap();
    // A record that announces 16,384 bytes.
    stream
        .try_clone()
        .unwrap()
        .write_all(&[22, 3, 1, 64, 0])
        .unwrap();
    let (took, _) = drip(&stream, &[b"\x01"]);
    assert_held(took);
}

/// What is left of a request that was refused is read for a while, and no longer.
#[test]
fn a_client_that_sends_on_after_its_refusal_is_left() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    let (took, answer) = drip(client.socket(), &[b"x"]);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}
