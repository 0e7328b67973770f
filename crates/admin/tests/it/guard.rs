//! Requests that are refused for who asks, and bytes that are no requests.

use crate::client::{Client, exchange, request};
use crate::proxy::{Folder, Pretended};

#[tokio::test]
async fn a_host_that_is_not_this_machine_is_misdirected() {
    let admin = Pretended::default().serve();
    let bound = admin.address.to_string();
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1", 200),
        (bound.as_str(), 200),
        ("[::1]:34901", 200),
        ("evil.example", 421),
        ("evil.example:34901", 421),
        ("localhost.evil.example", 421),
        ("10.0.0.1", 421),
        ("", 421),
        ("caf\u{e9}", 400),
    ] {
        let answer = exchange(
            &admin.address,
            format!("GET /ready HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.status, status, "{host:?}");
    }
}

#[tokio::test]
async fn the_host_of_an_absolute_target_counts_too() {
    let admin = Pretended::default().serve();
    for (target, status) in [
        ("http://localhost/ready", 200),
        ("http://127.0.0.1:1/ready", 200),
        ("http://evil.example/ready", 421),
        ("http://localhost@evil.example/ready", 421),
    ] {
        let answer = request(&admin.address, "GET", target).await;
        assert_eq!(answer.status, status, "{target}");
    }
}

#[tokio::test]
async fn one_host_is_needed_but_for_http_1_0() {
    let admin = Pretended::default().serve();
    for (bytes, status) in [
        ("GET /ready HTTP/1.1\r\n\r\n", 400),
        (
            "GET /ready HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            400,
        ),
        ("GET /ready HTTP/1.0\r\n\r\n", 200),
        ("GET /ready HTTP/1.0\r\nHost: evil.example\r\n\r\n", 421),
    ] {
        assert_eq!(
            exchange(&admin.address, bytes).await.status,
            status,
            "{bytes:?}"
        );
    }
}

#[tokio::test]
async fn a_unix_socket_is_as_strict_because_it_may_be_forwarded() {
    let folder = Folder::new();
    let admin = Pretended::default().serve_on(&folder.socket().1);
    let bytes = "GET /ready HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(exchange(&admin.address, bytes).await.status, 421);
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_order_a_reload() {
    let admin = Pretended::default().serve();
    for (origin, status) in [
        ("http://localhost:34901", 200),
        ("http://localhost:3000", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ] {
        let answer = exchange(
            &admin.address,
            format!("POST /reload HTTP/1.1\r\nHost: localhost:34901\r\nOrigin: {origin}\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[tokio::test]
async fn what_is_no_request_for_us_ends_the_connection_and_nothing_else() {
    let admin = Pretended::default().serve();
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "x".repeat(70_000)
    );
    for bytes in [
        b"\0\x01\x02\xff\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /ready HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        long.as_bytes(),
    ] {
        let mut client = Client::connect(&admin.address).await;
        client.send(bytes).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.0).await.unwrap();
        // An error of the connection is as good an end as an answer.
        if let Ok(answer) = client.read_to_end().await
            && !answer.is_empty()
        {
            assert!(answer.starts_with(b"HTTP/1."), "{answer:?}");
        }
        assert_eq!(request(&admin.address, "GET", "/ready").await.status, 200);
    }
}
