//! `Expect: 100-continue`, between whoever wants a body and the client that waits to be told so.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use transom_e2e::upstream::{ok, tell};
use transom_e2e::{Message, Setup, Upstream};

const HEAD: &str =
    "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
/// How long the proxy waits for a host's word.
const PATIENCE: Duration = Duration::from_secs(1);

#[test]
fn the_hosts_word_is_passed_on() {
    let upstream = Upstream::serving(|mut connection| {
        let head = Message::read_head(connection.client.reader());
        assert_eq!(
            head.unwrap().unwrap().header("expect"),
            Some("100-continue")
        );
        let socket = connection.client.socket();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let early = connection.client.reader().read(&mut [0]);
        assert_eq!(
            early.unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "before the 100"
        );
        connection
            .client
            .socket()
            .set_read_timeout(Some(transom_e2e::PATIENCE))
            .unwrap();
        connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(connection.client.bytes(3), b"abc");
        connection.send(ok("good"));
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    let answer = client.send(HEAD).answer();
    assert_eq!(answer.start, "HTTP/1.1 100 Continue");
    let answer = client.send("abc").answer();
    assert_eq!((answer.status(), answer.text()), (200, "good".to_owned()));
    assert_eq!(answer.header("connection"), None);
}

#[test]
fn a_host_that_declines_spares_the_body() {
    let upstream = Upstream::serving(|mut connection| {
        while let Ok(Some(_)) = Message::read_head(connection.client.reader()) {
            connection.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    let answer = client.send(HEAD).answer();
    assert_eq!((answer.status(), answer.text()), (401, "no".to_owned()));
    // Whether the body comes all the same nobody knows: what follows on the connection cannot be told apart.
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn a_host_that_says_nothing_is_not_waited_for_long() {
    let upstream = Upstream::answering(|request| ok(&tell(request)));
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    let start = Instant::now();
    assert_eq!(client.send(HEAD).answer().status(), 100);
    assert!(start.elapsed() >= PATIENCE);
    assert!(client.send("abc").answer().text().contains("body abc"));
}

#[test]
fn a_filter_that_wants_the_body_has_it_asked_for() {
    let upstream = Upstream::answering(|request| ok(&tell(request)));
    let plane = Setup::to(&upstream)
        .filter("{name: whole, config: {direction: request}}")
        .start();
    let mut client = plane.client();
    let start = Instant::now();
    assert_eq!(client.send(HEAD).answer().status(), 100);
    assert!(start.elapsed() < PATIENCE);
    assert!(client.send("abc").answer().text().contains("body abc"));
}

#[test]
fn a_client_that_does_not_wait_is_not_told_to_go_on() {
    let upstream = Upstream::answering(|request| ok(&tell(request)));
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = client.send(format!("{HEAD}abc")).answer();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().contains("body abc"));
    }
    // Half of it is as good as a word.
    client.send(format!("{HEAD}a"));
    std::thread::sleep(PATIENCE + Duration::from_millis(100));
    assert_eq!(client.send("bc").answer().status(), 200);
}
