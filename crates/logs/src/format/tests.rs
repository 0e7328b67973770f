use std::net::SocketAddr;
use std::time::Duration;

use transom_api::access_log::TlsFacts;
use transom_api::testing::FakeRecord;
use transom_api::{HeaderMap, MetadataValue, ResponseFlags};

use super::*;

fn record() -> FakeRecord {
    let request = HeaderMap::RequestHeaders;
    let mut record = FakeRecord::new()
        .with_header(request, ":method", b"GET")
        .with_header(request, ":path", b"/a/b?x=1&y=2")
        .with_header(request, ":authority", b"a.test")
        .with_header(request, "user-agent", b"curl/8")
        .with_header(HeaderMap::ResponseHeaders, ":status", b"200")
        .with_header(HeaderMap::ResponseHeaders, "x-tag", b"blue")
        .with_header(HeaderMap::ResponseTrailers, "x-end", b"yes")
        .with_metadata("app", "user", "jo".into())
        .with_metadata(
            "app",
            "claims",
            MetadataValue::Struct([("age".to_owned(), 7.0.into())].into()),
        )
        .with_state("note", "left \"here\"".to_owned())
        .with_header(
            request,
            "traceparent",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .with_attribute(
            "request.scheme",
            transom_api::Attribute::Bytes(b"https".as_slice().into()),
        );
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let facts = &mut record.facts;
    facts.duration = Duration::from_millis(1_234);
    facts.request_received = Some(Duration::from_millis(10));
    facts.request_sent = Some(Duration::from_millis(12));
    facts.response_received = Some(Duration::from_micros(20_500));
    facts.response_sent = Some(Duration::from_millis(21));
    facts.protocol = Some("HTTP/1.1");
    facts.status = 200;
    facts.bytes_received = 5;
    facts.bytes_sent = 12_345;
    facts.flags = ResponseFlags::UPSTREAM_CONNECTION_FAILURE | ResponseFlags::DELAY_INJECTED;
    facts.details = Some("via_upstream");
    facts.upstream_host = Some("127.0.0.1:8080");
    facts.upstream_local = Some(address("127.0.0.1:40000"));
    facts.upstream_connection_id = 9;
    facts.upstream_protocol = Some("HTTP/1.1");
    facts.parent_span = 0xab;
    facts.upstream_cluster = Some("up");
    facts.upstream_attempts = 2;
    facts.remote = Some(address("192.0.2.7:1000"));
    facts.direct_remote = Some(address("[2001:db8::1]:2000"));
    facts.local = Some(address("127.0.0.1:443"));
    facts.server_name = Some("a.test");
    facts.tls = Some(TlsFacts {
        version: "TLSv1.3",
        cipher: Some("TLS_AES_128_GCM_SHA256"),
        peer_subject: Some("CN=jo,O=\"x\""),
        ..TlsFacts::default()
    });
    facts.route = Some("main");
    facts.virtual_host = Some("all");
    facts.listener = "in";
    facts.connection_id = 7;
    facts.stream_id = 9;
    record
}

fn line(format: &Format, record: &FakeRecord) -> String {
    let mut out = Vec::new();
    format.write(&Record::new(record), &mut out);
    String::from_utf8(out).unwrap()
}

fn text(format: &str, record: &FakeRecord) -> String {
    line(&Format::text(format).unwrap(), record)
}

#[test]
fn operators_find_their_values() {
    let record = record();
    for (format, expected) in [
        ("100%% of %PROTOCOL%", "100% of HTTP/1.1"),
        ("%REQ(:METHOD)% %METHOD%", "GET GET"),
        (
            "%REQ(X-NONE?User-Agent)% %REQUEST_HEADER(none)%",
            "curl/8 -",
        ),
        (
            "%REQ(USER-AGENT):4%|%RESP(x-tag)%|%TRAILER(X-END)%",
            "curl|blue|yes",
        ),
        (
            "%PATH% %PATH(NQ)% %PATH(WQ:ORIG)% %REQ_WITHOUT_QUERY(:PATH)%",
            "/a/b?x=1&y=2 /a/b - /a/b",
        ),
        ("%QUERY_PARAM(y)% %QUERY_PARAM(z)%", "2 -"),
        (
            "%UPSTREAM_CONNECTION_ID% %UPSTREAM_PROTOCOL% %UPSTREAM_TLS_VERSION% %PARENT_SPAN_ID%",
            "9 HTTP/1.1 - 00000000000000ab",
        ),
        (
            "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%",
            "200 via_upstream",
        ),
        (
            "%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%",
            "UF,DI UpstreamConnectionFailure,DelayInjected",
        ),
        ("%BYTES_RECEIVED% %BYTES_SENT%", "5 12345"),
        (
            "%DURATION% %REQUEST_DURATION% %REQUEST_TX_DURATION%",
            "1234 10 12",
        ),
        ("%RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "20 1213"),
        ("%COMMON_DURATION(DS_RX_END:US_RX_BEG:us)%", "10500"),
        (
            "%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
            "127.0.0.1:8080 up 2",
        ),
        (
            "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%",
            "127.0.0.1 8080",
        ),
        (
            "%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
            "127.0.0.1:40000 -",
        ),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "192.0.2.7:1000 192.0.2.7",
        ),
        (
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_PORT%",
            "[2001:db8::1]:2000 2000",
        ),
        (
            "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%",
            "127.0.0.1:443 443",
        ),
        (
            "%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION%",
            "a.test TLSv1.3",
        ),
        (
            "%DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_SUBJECT%",
            "TLS_AES_128_GCM_SHA256 CN=jo,O=\\x22x\\x22",
        ),
        (
            "%ROUTE_NAME% %VIRTUAL_HOST_NAME% %LISTENER_NAME%",
            "main all in",
        ),
        (
            "%CONNECTION_ID% %STREAM_ID% %ACCESS_LOG_TYPE%",
            "7 9 DownstreamEnd",
        ),
        (
            "%DYNAMIC_METADATA(app:user)% %DYNAMIC_METADATA(app:claims)%",
            "jo {\"age\":7}",
        ),
        (
            "%METADATA(DYNAMIC:app:claims:age)% %DYNAMIC_METADATA(app:none)%",
            "7 -",
        ),
        (
            "%FILTER_STATE(note:PLAIN)% %FILTER_STATE(none)%",
            "left \\x22here\\x22 -",
        ),
        (
            "%TRACE_ID% %SPAN_ID% %ATTRIBUTE(request.scheme):4%",
            "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 http",
        ),
        ("%GRPC_STATUS%", "-"),
        ("%RESPONSE_HEADERS_BYTES%", "19"),
    ] {
        assert_eq!(text(format, &record), expected, "{format}");
    }
    assert_eq!(text("%HOSTNAME%", &record), crate::host_name());
}

#[test]
fn nothing_known_is_a_dash_or_zero() {
    let record = FakeRecord::new();
    assert_eq!(
        text(
            "%RESPONSE_CODE% %PROTOCOL% %RESPONSE_FLAGS% %DOWNSTREAM_REMOTE_ADDRESS% %RESPONSE_DURATION%",
            &record
        ),
        "0 - - - -"
    );
}

#[test]
fn the_default_has_envoys_fields() {
    let format = Format::text(DEFAULT).unwrap().line();
    let line = line(&format, &record());
    let (time, rest) = line.split_once("] ").unwrap();
    assert!(time.starts_with("[20") && time.ends_with('Z'), "{time}");
    assert_eq!(
        rest,
        "\"GET /a/b?x=1&y=2 HTTP/1.1\" 200 UF,DI 5 12345 1234 10 \"-\" \"curl/8\" \"-\" \"a.test\" \"127.0.0.1:8080\"\n"
    );
}

#[test]
fn the_start_is_as_long_ago_as_the_stream_lasted() {
    let record = record();
    let milliseconds = |format| text(format, &record).parse::<u64>().unwrap();
    let between = milliseconds("%EMIT_TIME(%s%3f)%") - milliseconds("%START_TIME(%s%3f)%");
    assert!((1_234..11_234).contains(&between), "{between}");
}

#[test]
fn a_client_cannot_forge_a_line() {
    let request = HeaderMap::RequestHeaders;
    let record =
        FakeRecord::new().with_header(request, "user-agent", b"x\"\r\n[2026] \"GET\x1b\xff");
    assert_eq!(
        text("\"%REQ(user-agent)%\"", &record),
        "\"x\\x22\\x0D\\x0A[2026] \\x22GET\\x1B\\xFF\""
    );
    let json = Format::json(&Node::map([("ua", "%REQ(user-agent)%".into())])).unwrap();
    assert_eq!(
        line(&json, &record),
        "{\"ua\":\"x\\\"\\r\\n[2026] \\\"GET\\u001B\u{fffd}\"}"
    );
}

#[test]
fn json_keeps_kinds_and_nesting() {
    let format = Format::json(&Node::map([
        ("code", "%RESPONSE_CODE%".into()),
        ("at", "%START_TIME(%s)%".into()),
        ("path", "%REQ(:PATH):4%".into()),
        ("none", "%REQ(X-NONE)%".into()),
        ("both", "%METHOD% \"%REQ(X-NONE)%\" %DURATION%ms".into()),
        ("claims", "%DYNAMIC_METADATA(app:claims)%".into()),
        ("user", "%DYNAMIC_METADATA(app:user)%".into()),
        ("flags", "%RESPONSE_FLAGS%".into()),
        (
            "fixed",
            Node::map([("a\"b", Node::list([1.into(), true.into(), Node::null()]))]),
        ),
    ]))
    .unwrap()
    .line();
    let line = line(&format, &record());
    let (before, after) = line.split_once("\"at\":").unwrap();
    assert_eq!(before, "{\"code\":200,");
    let (seconds, after) = after.split_once(',').unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000);
    assert_eq!(
        after,
        "\"path\":\"/a/b\",\"none\":null,\"both\":\"GET \\\"-\\\" 1234ms\",\"claims\":{\"age\":7},\"user\":\"jo\",\
         \"flags\":\"UF,DI\",\"fixed\":{\"a\\\"b\":[1,true,null]}}\n"
    );
}

#[test]
fn a_value_is_cut_between_characters() {
    let record = FakeRecord::new().with_header(HeaderMap::RequestHeaders, "x", "aä€".as_bytes());
    let cut = |length| {
        let json = Node::map([("x", format!("%REQ(x):{length}%").as_str().into())]);
        line(&Format::json(&json).unwrap(), &record)
    };
    assert_eq!(cut(1), "{\"x\":\"a\"}");
    assert_eq!(cut(2), "{\"x\":\"a\"}");
    assert_eq!(cut(3), "{\"x\":\"aä\"}");
    assert_eq!(cut(5), "{\"x\":\"aä\"}");
    assert_eq!(cut(6), "{\"x\":\"aä€\"}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (format, at, message, help) in [
        (
            "x %RESPONSE_CODEE%",
            2,
            "unknown operator `%RESPONSE_CODEE%`",
            Some("did you mean `%RESPONSE_CODE%`?"),
        ),
        ("%REQUEST(a)%", 0, "unknown operator `%REQUEST%`", None),
        (
            "%response_code%",
            0,
            "unknown operator `%response_code%`",
            Some("did you mean `%RESPONSE_CODE%`?"),
        ),
        ("100% sure", 3, "a lone `%`", None),
        (
            "%PROTOCOL",
            0,
            "the operator `%PROTOCOL` does not end",
            None,
        ),
        ("%REQ(a%", 0, "the parameters of `%REQ` do not end", None),
        ("%REQ%", 0, "`%REQ(name?other)%` needs its parameters", None),
        ("%REQ(a b)%", 0, "`a b` is no name of a header", None),
        ("%REQ(a):x%", 0, "the parameters of `%REQ` do not end", None),
        (
            "%PROTOCOL(x)%",
            0,
            "`%PROTOCOL%` takes no parameters",
            Some("write `%PROTOCOL%`"),
        ),
        (
            "%START_TIME(%Y%Q)%",
            14,
            "unknown part `%Q` of a time format",
            None,
        ),
        (
            "%DYNAMIC_METADATA(a)%",
            0,
            "metadata needs a namespace and a key",
            None,
        ),
        ("%COMMON_DURATION(A:B)%", 0, "`A:B` is no duration", None),
    ] {
        let error = Format::text(format).unwrap_err();
        assert_eq!(
            (error.at, error.message.as_str()),
            (at, message),
            "{format}"
        );
        if let Some(help) = help {
            assert_eq!(error.help.as_deref(), Some(help), "{format}");
        }
    }
    let node = Node::from("ä\n %NOPE_X%");
    let error = Format::text("ä\n %NOPE_X%").unwrap_err();
    let shown = error.in_node(&node, "ä\n %NOPE_X%").message;
    assert_eq!(
        shown,
        "unknown operator `%NOPE_X%` at character 2 of the format's line 2"
    );
}

#[test]
fn parameters_of_a_query_are_decoded() {
    for (path, expected) in [
        ("/?x=a%20b%2Fc", "a b/c"),
        ("/?y=1&x=%zz%4", "%zz%4"),
        ("/?x=", ""),
        ("/?xx=1&x=2&x=3", "2"),
        ("/?x", "-"),
        ("/x=1", "-"),
        ("/?x=%0a", "\\x0A"),
    ] {
        let record =
            FakeRecord::new().with_header(HeaderMap::RequestHeaders, ":path", path.as_bytes());
        let format = Format::text("%QUERY_PARAM(x)%").unwrap();
        let mut line = Vec::new();
        format.write(&Record::new(&record), &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), expected, "{path}");
    }
}

#[test]
fn a_host_that_was_not_connected_has_no_remote_address() {
    let mut record = FakeRecord::new();
    record.facts.upstream_host = Some("127.0.0.1:8080");
    let format = "%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_PORT% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
    let mut line = Vec::new();
    let format = Format::text(format).unwrap();
    format.write(&Record::new(&record), &mut line);
    assert_eq!(line, b"127.0.0.1:8080 - - -");
}
