//! Filters that keep, see, change and make bodies.

use transom_e2e::message::Framing;
use transom_e2e::upstream::ok;
use transom_e2e::{Client, Message, Setup, Upstream};

fn chunked(body: &[&str], trailers: &str) -> String {
    let mut text = String::new();
    for piece in body {
        text += &format!("{:x}\r\n{piece}\r\n", piece.len());
    }
    format!("{text}0\r\n{trailers}\r\n")
}

fn post_chunked(client: &mut Client, body: &[&str], trailers: &str) -> Message {
    let body = chunked(body, trailers);
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ))
        .answer()
}

#[test]
fn a_body_within_the_limit_is_buffered_and_its_head_waits_for_it() {
    for direction in ["request", "response"] {
        let upstream = Upstream::echo();
        let plane = Setup::to(&upstream)
            .filter(&format!(
                "{{name: buffer, config: {{direction: {direction}, limit: 1000}}}}"
            ))
            .start();
        let answer = post_chunked(&mut plane.client(), &["abc", "de"], "");
        assert!(answer.text().contains("body abcde\n"), "{answer:?}");
        if direction == "request" {
            assert_eq!(upstream.last().header("x-length"), Some("5"));
        } else {
            let length = answer.body.len().to_string();
            assert_eq!(answer.header("x-length"), Some(length.as_str()));
        }
    }
}

#[test]
fn a_request_body_over_the_filters_limit_is_413() {
    let upstream = Upstream::echo();
    for filter in [
        "{name: buffer, config: {limit: 4}}",
        "{name: whole, config: {limit: 4}}",
        "{name: pause, config: {at: request_headers, stop: all_and_buffer}}",
    ] {
        let plane = Setup::to(&upstream).filter(filter).start();
        let mut client = plane.client();
        // The usual limit of a filter that names none is 1 MiB.
        let body = "x".repeat(if filter.contains("limit") {
            5
        } else {
            (1 << 20) + 1
        });
        let request = format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(request);
        assert_eq!(client.answer().status(), 413, "{filter}");
    }
    assert_eq!(upstream.requests(), []);
}

#[test]
fn a_response_body_over_the_filters_limit_is_502() {
    let upstream = Upstream::ok("12345");
    for filter in [
        "{name: buffer, config: {direction: response, limit: 4}}",
        "{name: whole, config: {direction: response, limit: 4}}",
    ] {
        let plane = Setup::to(&upstream)
            .filter(filter)
            .access_log("{name: record}")
            .start();
        let mut client = plane.client();
        assert_eq!(client.get("/").status(), 502, "{filter}");
        let line = plane.lab.wait_for_prefix("log");
        assert!(line.contains("502 - response_payload_too_large"), "{line}");
        // What the limit cut off is not taken for the next answer.
        assert_eq!(client.get("/").status(), 502, "{filter}");
    }
}

#[test]
fn a_whole_body_is_shown_once() {
    let upstream = Upstream::answering(|_| {
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            chunked(&["1", "2", "3"], "x-a: b\r\n")
        )
        .into_bytes()
    });
    let plane = Setup::to(&upstream)
        .filter("{name: whole, id: up, config: {}}")
        .filter("{name: whole, id: down, config: {direction: response}}")
        .start();
    let answer = post_chunked(&mut plane.client(), &["a", "b", "c"], "x-c: d\r\n");
    assert_eq!(
        (answer.text(), answer.trailer("x-a")),
        ("123".to_owned(), Some("b"))
    );
    assert_eq!(upstream.last().text(), "abc");
    assert_eq!(upstream.last().trailer("x-c"), Some("d"));
    assert_eq!(
        plane.lab.notes(),
        ["up.prepare", "down.prepare", "up.body abc", "down.body 123"]
    );
    // No body at all is shown as none.
    let plane = Setup::to(&upstream)
        .filter("{name: whole, config: {}}")
        .start();
    assert_eq!(plane.get("/").status(), 200);
    assert_eq!(plane.lab.notes(), ["whole.prepare"]);
}

#[test]
fn a_streamed_body_is_rewritten_in_both_directions() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .filter("{name: rewrite, id: up, config: {declared: true}}")
        .filter("{name: rewrite, id: down, config: {direction: response, declared: true}}")
        .start();
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = client.post("/", "abc");
        assert_eq!(upstream.last().text(), "aabbcc");
        // The old length is not promised: either none is, or that of the body as it came out.
        for message in [&upstream.last(), &answer] {
            assert!(matches!(
                message.framing,
                Framing::Chunked | Framing::Length
            ));
        }
        assert!(
            answer.text().contains("bbooddyy  aaaabbbbcccc"),
            "{answer:?}"
        );
        // Without a length in the first place nothing needs to be declared.
        let answer = post_chunked(&mut client, &["a", "b"], "x-a: b\r\n");
        assert!(answer.text().contains("aaaabbbb"), "{answer:?}");
        assert_eq!(upstream.last().trailer("x-a"), Some("b"));
    }
    assert_eq!(plane.lab.count("up.LengthAnnounced"), 0);
}

#[test]
fn a_length_changed_without_saying_so_fails_the_stream_and_not_the_framing() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .filter("{name: rewrite, config: {}}")
        .start();
    assert_eq!(plane.client().post("/", "abc").status(), 500);
    plane.lab.wait_for("rewrite.LengthAnnounced");
    assert_eq!(upstream.requests(), []);
    // Chunked bodies have no length that could be broken.
    let answer = post_chunked(&mut plane.client(), &["abc"], "");
    assert!(answer.text().contains("body aabbcc"), "{answer:?}");

    // Under the policy `open` the stream goes on without the filter, and the body as it was.
    let plane = Setup::to(&upstream)
        .filter("{name: rewrite, on_failure: open, config: {}}")
        .start();
    assert!(
        plane
            .client()
            .post("/", "abc")
            .text()
            .contains("body abc\n")
    );

    // A response whose head has left cannot be answered any more: the connection breaks off, the framing does not lie.
    let plane = Setup::to(&upstream)
        .filter("{name: rewrite, config: {direction: response}}")
        .start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    if let Ok(Some(answer)) = client.try_answer("GET") {
        assert_eq!(answer.status(), 500, "{answer:?}");
    }
}

#[test]
fn a_filter_injects_into_bodies_and_makes_its_own() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .filter("{name: inject, config: {text: \"+\"}}")
        .filter("{name: inject, id: down, config: {direction: response, text: \"<end>\"}}")
        .start();
    let answer = plane.client().post("/", "abc");
    // Behind what the callback has shown, each time.
    assert!(
        upstream.last().text().starts_with("abc+"),
        "{:?}",
        upstream.last()
    );
    assert!(answer.text().ends_with("<end>"), "{answer:?}");

    let plane = Setup::to(&upstream)
        .filter("{name: inject, config: {text: \"quite different\", own: true}}")
        .start();
    let answer = plane.client().post("/", "abc");
    assert!(
        answer.text().contains("body quite different\n"),
        "{answer:?}"
    );
    plane.lab.wait_for("inject.injected the end");
}

#[test]
fn a_filter_gives_a_body_to_messages_that_have_none() {
    let upstream = Upstream::answering(|_| ok(""));
    let plane = Setup::to(&upstream)
        .filter("{name: noop}")
        .filter("{name: inject, config: {text: \"asked\", give: true}}")
        .filter(
            "{name: inject, id: down, config: {direction: response, text: \"given\", give: true}}",
        )
        .filter("{name: rewrite, config: {}}")
        .start();
    let mut client = plane.client();
    for _ in 0..2 {
        // Later filters see it as they see any body, and the connection goes on.
        let answer = client.get("/");
        assert_eq!(answer.text(), "given", "{answer:?}");
        // The filter behind doubles each byte.
        assert_eq!(upstream.last().text(), "aasskkeedd");
    }
}

#[test]
fn trailers_are_added_to_what_has_some_and_to_what_has_none() {
    let upstream = Upstream::answering(|request| {
        if request.target() == "/plain" {
            return ok("plain");
        }
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            chunked(&["def"], "x-own: 1\r\n")
        )
        .into_bytes()
    });
    let plane = Setup::to(&upstream)
        .filter("{name: trailers, config: {}}")
        .start();
    let mut client = plane.client();
    let answer = client.post("/plain", "abc");
    assert_eq!(upstream.last().text(), "abc");
    assert_eq!(upstream.last().trailer("x-added"), Some("request_body"));
    assert_eq!(answer.text(), "plain");
    assert_eq!(answer.trailer("x-added"), Some("response_body"));
    let answer = post_chunked(&mut client, &["abc"], "x-own: 2\r\n");
    assert_eq!(upstream.last().trailer("x-own"), Some("2"));
    assert_eq!(upstream.last().trailer("x-added"), Some("request_trailers"));
    assert_eq!(
        (answer.trailer("x-own"), answer.trailer("x-added")),
        (Some("1"), Some("response_trailers"))
    );
}

#[test]
fn a_head_can_be_made_the_whole_message() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .filter("{name: bodiless, config: {}}")
        .filter("{name: trace}")
        .start();
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = client.post("/", "abc");
        assert!(answer.text().contains("body \n"), "{answer:?}");
    }
    // Later filters see a head that is the whole message; the filter itself sees what it cut off go by.
    assert!(
        plane
            .lab
            .notes()
            .contains(&"trace.request_headers end".to_owned())
    );
    assert_eq!(plane.lab.count("trace.request_body"), 0);

    let plane = Setup::to(&upstream)
        .filter("{name: bodiless, config: {direction: response}}")
        .start();
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = client.post("/", "abc");
        assert_eq!(
            (answer.status(), answer.text()),
            (200, String::new()),
            "{answer:?}"
        );
    }
}
