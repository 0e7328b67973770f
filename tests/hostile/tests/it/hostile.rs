//! Each row of the table through the running data plane: at once, byte by byte, and behind another request.

use crate::client::Client;
use crate::proxy::RunningProxy;
use crate::table::{Fate, ROWS, Row};
use crate::upstream::{Upstream, in_one_chunk};

const GOOD: &[u8] = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

/// How a row is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    AtOnce,
    ByteByByte,
    /// In one piece with a good request before it, on connections that have served others.
    BehindAnother,
}

fn send(name: &str, way: Way) {
    let row = Row::named(name);
    let upstream = Upstream::start();
    let proxy = RunningProxy::before(upstream.address);
    let mut client = Client::connect(proxy.address);

    let mut statuses = Vec::new();
    let mut expected = row.statuses.clone();
    let mut requests = row.upstream();
    let mut input = row.input();
    if way == Way::BehindAnother {
        client.send(GOOD, GOOD.len());
        assert_eq!(client.answer().status, 200);
        input = [GOOD, &input].concat();
        expected.insert(0, 200);
        requests.splice(0..0, [GOOD.to_vec(), GOOD.to_vec()]);
    }
    let piece = if way == Way::ByteByByte {
        1
    } else {
        input.len()
    };
    client.send(&input, piece);
    for at in 0..expected.len() {
        let answer = client.answer();
        statuses.push(answer.status);
        let last = at + 1 == expected.len();
        assert_eq!(
            answer.closes,
            last && row.then == Fate::Closed,
            "answer {at} tells the wrong fate of the connection"
        );
    }
    assert_eq!(statuses, expected);
    match row.then {
        Fate::Closed => client.expect_end(),
        Fate::Open => {
            client.send(GOOD, GOOD.len());
            assert_eq!(client.answer().status, 200);
            requests.push(GOOD.to_vec());
        }
    }
    drop(client);
    proxy.stop();

    let connections = upstream.finish();
    let mut received = connections
        .iter()
        .flat_map(|connection| connection.requests.iter().cloned())
        .collect::<Vec<_>>();
    if way == Way::ByteByByte {
        received.iter_mut().for_each(|raw| *raw = in_one_chunk(raw));
    }
    assert_eq!(readable(&received), readable(&requests));
    for connection in &connections {
        // A head may have gone before a fault in its body was there to be seen; then the body must not end.
        let begun = way == Way::ByteByByte && connection.rest.starts_with(b"POST / HTTP/1.1\r\n");
        assert!(
            connection.rest.is_empty() || begun,
            "the upstream received {}",
            connection.rest.escape_ascii()
        );
    }
}

fn readable(requests: &[Vec<u8>]) -> Vec<String> {
    requests
        .iter()
        .map(|request| request.escape_ascii().to_string())
        .collect()
}

macro_rules! rows {
    ($($test:ident: $row:literal,)*) => {
        const TESTED: &[&str] = &[$($row),*];
        $(mod $test {
            use super::{Way, send};

            #[test]
            fn at_once() {
                send($row, Way::AtOnce);
            }

            #[test]
            fn byte_by_byte() {
                send($row, Way::ByteByByte);
            }

            #[test]
            fn behind_another_request() {
                send($row, Way::BehindAnother);
            }
        })*
    };
}

rows! {
    plain_get: "plain GET",
    content_length_and_transfer_encoding_smuggle_tail: "CL+TE (smuggle tail)",
    transfer_encoding_and_content_length_order: "TE+CL order",
    transfer_encoding_chunked_twice: "TE: chunked twice",
    transfer_encoding_chunked_identity: "TE: chunked, identity",
    transfer_encoding_identity_chunked: "TE: identity, chunked",
    transfer_encoding_xchunked: "TE: xchunked",
    transfer_encoding_vt_chunked: "TE: <VT>chunked",
    transfer_encoding_space_before_colon: "TE space before colon",
    transfer_encoding_on_http_1_0: "TE on HTTP/1.0",
    content_length_dup_differ: "CL dup differ",
    content_length_dup_same: "CL dup same",
    content_length_5_5: "CL: 5, 5",
    content_length_plus_5: "CL: +5",
    content_length_minus_1: "CL: -1",
    content_length_2_to_the_64_plus_5: "CL: 2^64+5",
    obs_fold_header: "obs-fold header",
    obs_fold_transfer_encoding: "obs-fold TE",
    bare_lf_lines: "bare LF lines",
    nul_in_value: "NUL in value",
    bare_cr_in_value: "bare CR in value",
    no_host_1_1: "no Host 1.1",
    two_host: "two Host",
    abs_form_vs_host: "abs-form vs Host",
    bad_header_name: "bad header name",
    empty_header_name: "empty header name",
    chunk_size_0x5: "chunk size 0x5",
    chunk_size_plus_5: "chunk size +5",
    chunk_size_overflow: "chunk size overflow",
    chunk_ext_bare_lf: "chunk ext bare LF",
    chunk_data_no_crlf: "chunk data no CRLF",
    chunked_trailers: "chunked trailers",
    upgrade_and_pipelined_200_up: "Upgrade+pipelined, 200 up",
    upgrade_and_content_length: "Upgrade+CL",
    connection_nominates_x: "Connection: close, x; X: 1",
    get_with_content_length_body: "GET with CL body",
    target_with_space: "target with space",
    http_1_2: "HTTP/1.2",
    http_2_0_text: "HTTP/2.0 text",
    method_lower_ge_t: "method lower ge(t",
    header_64_kib: "header 64 KiB",
    with_150_headers: "150 headers",
    with_300_headers: "300 headers",
    connect_a_80: "CONNECT a:80",
    options_asterisk: "OPTIONS *",
    leading_crlf: "leading CRLF",
    pipelined_3_get: "pipelined 3 GET",
    path_escaped_nul_dot_dot: "path %00 /../",
}

#[test]
fn every_row_is_tested() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(TESTED, rows);
}

#[test]
fn what_any_engine_refuses_is_refused_here_or_has_its_reason() {
    for row in ROWS.iter() {
        let lenient = !row.refused_by.is_empty() && !row.is_refused();
        assert_eq!(
            lenient,
            row.served_because.is_some(),
            "{}: refused by {:?}",
            row.name,
            row.refused_by
        );
    }
}

#[test]
fn what_is_refused_ends_the_connection() {
    for row in ROWS.iter() {
        assert_eq!(row.is_refused(), row.then == Fate::Closed, "{}", row.name);
        assert!(
            !row.is_refused() || row.upstream().is_empty(),
            "{}",
            row.name
        );
    }
}
