//! What the proxy believes and tells as one hop of many.

use transom_api::trace_context::TraceParent;
use transom_e2e::{Message, Plane, Setup, Upstream, eventually};

/// What came to the upstream of a request with these lines.
fn seen(plane: &Plane, up: &Upstream, lines: &str) -> Message {
    let answer = ask(plane, lines);
    assert_eq!(answer.status(), 200, "{lines}");
    up.last()
}

fn ask(plane: &Plane, lines: &str) -> Message {
    let mut client = plane.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    client.answer()
}

#[test]
fn by_default_strangers_say_nothing_of_clients() {
    let up = Upstream::ok("good");
    let plane = Setup::to(&up)
        .access_log("{name: attributes, config: [source.address]}")
        .start();
    let lines = "X-Forwarded-For: 192.0.2.1\r\nx-forwarded-proto: https\r\nForwarded: for=192.0.2.1\r\n\
        X-Real-IP: 192.0.2.1\r\nx-forwarded-user: root\r\nX-Request-Id: mine\r\ntraceparent: bad\r\nx-other: 1\r\n";
    let request = seen(&plane, &up, lines);
    let names: Vec<&str> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["Host", "X-Request-Id", "traceparent", "x-other"]);
    eventually("the stream is logged", || {
        let notes = plane.lab.notes();
        let note = notes
            .iter()
            .find(|note| note.starts_with("source.address="))?;
        assert!(note.starts_with("source.address=127.0.0.1:"), "{note}");
        Some(())
    });
}

#[test]
fn filters_and_logs_take_the_client_from_whom_the_configuration_trusts() {
    let up = Upstream::ok("good");
    let setup = |forwarded: &str| {
        Setup::to(&up)
            .option(&format!("forwarded: {{{forwarded}}}"))
            .filter("{name: ip_access, config: {default: allow, rules: [{action: deny, addresses: [203.0.113.0/24]}]}}")
    };
    let plane = setup("trusted_hops: 1").start();
    for (forwarded, lines, status) in [
        ("trusted_hops: 1", "X-Forwarded-For: 203.0.113.7\r\n", 403),
        (
            "trusted_hops: 1",
            "X-Forwarded-For: 203.0.113.7, 192.0.2.1\r\n",
            200,
        ),
        (
            "trusted_hops: 2",
            "X-Forwarded-For: 203.0.113.7, 192.0.2.1\r\n",
            403,
        ),
        (
            "trusted_hops: 3",
            "X-Forwarded-For: 203.0.113.7, 192.0.2.1\r\n",
            200,
        ),
        (
            "trusted_networks: [127.0.0.0/8, 10.0.0.0/8]",
            "X-Forwarded-For: 203.0.113.7, 10.1.1.1\r\n",
            403,
        ),
        (
            "trusted_networks: [10.0.0.0/8]",
            "X-Forwarded-For: 203.0.113.7\r\n",
            200,
        ),
        ("mode: keep", "X-Forwarded-For: 203.0.113.7\r\n", 200),
    ] {
        plane.apply(&setup(forwarded).yaml()).unwrap();
        assert_eq!(ask(&plane, lines).status(), status, "{forwarded} {lines}");
    }
    // The requests of one connection come from different clients.
    plane.apply(&setup("trusted_hops: 1").yaml()).unwrap();
    let mut client = plane.client();
    for (address, status) in [("192.0.2.1", 200), ("203.0.113.7", 403), ("192.0.2.1", 200)] {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n"
        ));
        assert_eq!(client.answer().status(), status, "{address}");
    }
}

#[test]
fn the_upstream_is_told_who_connected() {
    let up = Upstream::ok("good");
    let plane = Setup::to(&up)
        .option(
            "forwarded: {mode: append, trusted_networks: [192.0.2.0/24], host: true, port: true}",
        )
        .listener_option(
            "listener_filters: [{name: proxy_protocol, config: {trusted: [127.0.0.0/8]}}]",
        )
        .start();
    let port = plane.address("in").port().to_string();
    let told = |peer: &str, lines: &str| {
        let mut client = plane.client();
        client.send(format!(
            "PROXY TCP4 {peer} 127.0.0.1 1000 {port}\r\nGET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"
        ));
        assert_eq!(client.answer().status(), 200);
        let seen = up.last();
        ["for", "proto", "host", "port", "by"]
            .map(|name| seen.headers(&format!("x-forwarded-{name}")))
    };
    let forged = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.test\r\nX-Forwarded-By: x\r\n";
    assert_eq!(
        told("203.0.113.7", forged),
        ["1.1.1.1, 203.0.113.7", "http", "a.test", &port, ""]
    );
    assert_eq!(
        told("192.0.2.1", forged),
        ["1.1.1.1, 192.0.2.1", "https", "b.test", &port, "x"]
    );
    assert_eq!(
        told("192.0.2.1", ""),
        ["192.0.2.1", "http", "a.test", &port, ""]
    );
}

#[test]
fn a_redirect_knows_the_scheme_that_a_trusted_proxy_was_asked_by() {
    let up = Upstream::ok("good");
    let setup = |option: &str| {
        Setup::to(&up)
            .option(option)
            .route("{match: {prefix: /}, redirect: {path: /new}}")
    };
    let plane = setup("forwarded: {trusted_hops: 1}").start();
    let location = || ask(&plane, "X-Forwarded-Proto: https\r\n").headers("location");
    assert_eq!(location(), "https://a.test/new");
    plane.apply(&setup("forwarded: {}").yaml()).unwrap();
    assert_eq!(location(), "http://a.test/new");
}

#[test]
fn each_request_has_an_id_and_the_answer_tells_it() {
    let up = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nx-request-id: theirs\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let plane = Setup::to(&up)
        .option("request_id: {in_response: true}")
        .route("{match: {path: /here}, direct_response: {status: 200}}")
        .start();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = ask(&plane, "X-Request-ID: mine\r\n");
        let id = up.last().headers("x-request-id");
        assert_eq!(answer.headers("x-request-id"), id);
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(&id[14..15], "4", "{id}");
        ids.push(id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    // Also the proxy's own answers.
    assert_eq!(plane.get("/here").headers("x-request-id").len(), 36);
}

#[test]
fn the_log_tells_request_and_trace() {
    let up = Upstream::ok("good");
    let folder = std::env::temp_dir().join(format!("transom-hops-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("access.log");
    let plane = Setup::to(&up)
        .option("request_id: {preserve: true}")
        .option("trace: {generate: true, span: true}")
        .option("via: edge-1")
        .option("server: {name: transom}")
        .access_log(&format!(
            "{{name: file, config: {{path: {}, flush_interval: 10ms, \
              format: \"%STREAM_ID% %TRACE_ID% %SPAN_ID% %PARENT_SPAN_ID% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_PROTOCOL% %UPSTREAM_TLS_VERSION%\"}}}}",
            path.display()
        ))
        .start();
    let lines = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let answer = ask(
        &plane,
        &format!(
            "X-Request-Id: mine\r\ntraceparent: 00-{trace}-b7ad6b7169203331-00\r\ntracestate: a=1\r\nVia: 1.0 before\r\n"
        ),
    );
    assert_eq!(answer.headers("via"), "1.1 edge-1");
    assert_eq!(answer.headers("server"), "transom");
    let seen = up.last();
    assert_eq!(seen.headers("via"), "1.0 before, 1.1 edge-1");
    assert_eq!(seen.headers("tracestate"), "a=1");
    let told = seen.headers("traceparent");
    let parent = TraceParent::parse(told.as_bytes()).unwrap();
    assert!(!parent.is_sampled());
    let span = String::from_utf8(parent.parent_id.to_vec()).unwrap();
    assert_ne!(span, "b7ad6b7169203331");
    let line = eventually("the line is written", || lines().into_iter().next());
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[..4], ["mine", trace, &span, "b7ad6b7169203331"]);
    assert!(words[4].starts_with("127.0.0.1:"), "{line}");
    assert_eq!(words[5..], ["HTTP/1.1", "-"]);
    // Without a context a trace begins here.
    ask(&plane, "traceparent: bad\r\ntracestate: a=1\r\n");
    let seen = up.last();
    assert_eq!(seen.headers("tracestate"), "");
    let told = seen.headers("traceparent");
    assert!(TraceParent::parse(told.as_bytes()).unwrap().is_sampled());
    let line = eventually("the line is written", || lines().into_iter().nth(1));
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[0].len(), 36);
    assert!(
        told.contains(&format!("{}-{}", words[1], words[2])),
        "{line}"
    );
    assert_eq!(words[3], "-");
    std::fs::remove_dir_all(&folder).unwrap();
}
