//! Times, sizes and numbers that end a request. Time is paused and runs on by itself when nothing else can.

use std::time::Duration;

use tokio::time::Instant;
use transom_api::Node;

use crate::client::{Client, exchange, request};
use crate::proxy::Pretended;

#[tokio::test(start_paused = true)]
async fn a_head_may_take_ten_seconds() {
    let admin = Pretended::default().serve();
    for bytes in ["", "GET /ready HTTP/1.1\r\nHost: local"] {
        let begin = Instant::now();
        let mut client = Client::connect(&admin.address).await;
        client.send(bytes).await;
        assert!(client.read_to_end().await.unwrap_or_default().is_empty());
        assert_seconds(begin, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_timed_out() {
    let admin = Pretended::default().serve();
    let begin = Instant::now();
    let answer = exchange(
        &admin.address,
        "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabc",
    )
    .await;
    assert_eq!(answer.status, 408);
    assert_seconds(begin, 29);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_timed_out() {
    let admin = Pretended::with_reload(std::future::pending).serve();
    // The second waits for the first and never begins.
    for _ in 0..2 {
        let begin = Instant::now();
        let answer = request(&admin.address, "POST", "/reload").await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("goes on"), "{}", answer.body);
        assert_seconds(begin, 29);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let text = "x".repeat(1 << 20);
    let admin = Pretended {
        config: Node::list((0..32).map(|_| text.as_str().into())),
        ..Pretended::default()
    }
    .serve();
    let mut client = Client::connect(&admin.address).await;
    client
        .send("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    // One more second than a request may take, in which nothing is read.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let read = client.read_to_end().await.map_or(0, |bytes| bytes.len());
    assert!(read < 32 << 20, "all of it came");
}

#[tokio::test]
async fn a_head_may_have_16_kib() {
    let admin = Pretended::default().serve();
    for (size, status) in [(16_000, 200), (17_000, 431), (500_000, 431)] {
        let filler = "x".repeat(size);
        let bytes = format!("GET /ready HTTP/1.1\r\nHost: localhost\r\nX: {filler}\r\n\r\n");
        assert_eq!(
            exchange(&admin.address, bytes).await.status,
            status,
            "{size}"
        );
    }
}

#[tokio::test]
async fn a_body_may_have_64_kib() {
    let admin = Pretended::default().serve();
    for (size, status) in [(0, 200), (65_536, 200), (65_537, 413)] {
        let body = "x".repeat(size);
        let with_length = format!(
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n{body}"
        );
        let chunk = if size > 0 {
            format!("{size:x}\r\n{body}\r\n")
        } else {
            String::new()
        };
        let chunked = format!(
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
        );
        for bytes in [with_length, chunked] {
            let answer = exchange(&admin.address, bytes).await;
            assert_eq!(answer.status, status, "{size}");
        }
    }
}

#[tokio::test]
async fn a_client_that_still_sends_gets_the_answer_all_the_same() {
    let admin = Pretended::default().serve();
    for length in ["Content-Length: 600000", "Transfer-Encoding: chunked"] {
        let head = format!("POST /reload HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n");
        let chunk = format!("927c0\r\n{}", "x".repeat(600_000));
        let body = if length.starts_with('C') {
            &chunk[7..]
        } else {
            &chunk
        };
        assert_eq!(
            exchange(&admin.address, format!("{head}{body}"))
                .await
                .status,
            413
        );
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_asked_for() {
    let admin = Pretended::default().serve();
    let head = |size| {
        format!(
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
        )
    };
    assert_eq!(exchange(&admin.address, head(65_537)).await.status, 413);
    let mut client = Client::connect(&admin.address).await;
    client.send(head(3) + "abc").await;
    let answer = client.read_to_end().await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 100 "), "{answer:?}");
}

#[tokio::test]
async fn each_connection_serves_one_request() {
    let admin = Pretended::default().serve();
    let one = "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = exchange(&admin.address, one.repeat(3)).await;
    assert_eq!(answer.body, "ready\n");
    assert_eq!(answer.field("connection"), Some("close"));
}

#[tokio::test]
async fn a_client_may_close_its_half_after_the_request() {
    let admin = Pretended::default().serve();
    let mut client = Client::connect(&admin.address).await;
    client
        .send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.0)
        .await
        .unwrap();
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_65th_connection_waits_until_one_ends() {
    let admin = Pretended::default().serve();
    let begin = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..63 {
        idle.push(Client::connect(&admin.address).await);
    }
    assert_eq!(request(&admin.address, "GET", "/ready").await.status, 200);
    assert_seconds(begin, 0);
    idle.push(Client::connect(&admin.address).await);
    // The idle ones end when their heads are overdue.
    assert_eq!(request(&admin.address, "GET", "/ready").await.status, 200);
    assert_seconds(begin, 10);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_idle_connections_at_once() {
    let admin = Pretended::default().serve();
    let mut silent = Client::connect(&admin.address).await;
    let mut half = Client::connect(&admin.address).await;
    half.send("GET /ready HT").await;
    // A served request shows that the two before it were accepted.
    assert_eq!(request(&admin.address, "GET", "/ready").await.status, 200);
    let begin = Instant::now();
    admin.stop().await;
    assert!(silent.read_to_end().await.unwrap_or_default().is_empty());
    assert!(half.read_to_end().await.unwrap_or_default().is_empty());
    assert_seconds(begin, 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_a_request_end_but_not_for_ever() {
    for (takes, is_answered) in [(4, true), (6, false)] {
        let admin = Pretended::with_reload(move || async move {
            tokio::time::sleep(Duration::from_secs(takes)).await;
            Ok(())
        })
        .serve();
        let begin = Instant::now();
        let mut client = Client::connect(&admin.address).await;
        client
            .send("POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert_eq!(request(&admin.address, "GET", "/ready").await.status, 200);
        let answer = async {
            let answer = client.read_to_end().await;
            drop(client);
            answer
        };
        let (answer, ()) = tokio::join!(answer, admin.stop());
        assert_eq!(
            !answer.unwrap_or_default().is_empty(),
            is_answered,
            "{takes}"
        );
        assert_seconds(begin, takes.min(5));
    }
}

/// Timers have a resolution of a millisecond.
fn assert_seconds(begin: Instant, expected: u64) {
    let elapsed = begin.elapsed();
    let expected = Duration::from_secs(expected);
    assert!(
        elapsed >= expected && elapsed < expected + Duration::from_millis(100),
        "{elapsed:?} instead of {expected:?}"
    );
}
