//! The cases of the crate `http_desync_guardian` 0.1.3, as bytes through the running data plane.
//!
//! They are that crate's data and lie where cargo keeps its sources; nothing of them is copied here. Each describes a
//! request as parsed, in one of four tiers. It is written as bytes, with the body that its fields announce and a plain
//! request behind it. What is served must reach the upstream as these two requests and nothing else; whether it is served
//! must be right for its tier, or stand below with its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use http_desync_guardian as _;

use crate::client::Client;
use crate::proxy::RunningProxy;
use crate::upstream::Upstream;

/// How many cases there are: fewer would mean that some were not read.
const CASES: usize = 159;

const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n";

const OWN_NAME: &str =
    "RFC 9110 section 5.1: a field of another name; our own framing goes with it";
const BODY_OF_GET: &str =
    "RFC 9110 section 9.3.1: content of no defined meaning, and framed as any other";

/// Cases that are served although their tier is `Ambiguous`, and why. None is of tier `Severe`.
const SERVED: &[(&str, &str)] = &[
    ("Transfer_Encoding with underscore.", OWN_NAME),
    ("Content_Length with underscore.", OWN_NAME),
    ("Transfer-Encoding with multiple hyphens", OWN_NAME),
    ("Transfer-Encoding with multiple delimiters", OWN_NAME),
    ("Get with a body and Content-Length", BODY_OF_GET),
    ("Get with a body and Transfer-Encoding", BODY_OF_GET),
    ("Head with a body and Content-Length", BODY_OF_GET),
    ("Head with a body and Transfer-Encoding", BODY_OF_GET),
    ("Has a CL in GET", BODY_OF_GET),
    ("Has a TE in GET", BODY_OF_GET),
];

const CODING: &str =
    "RFC 9112 section 6.1: 501 for codings that are not understood; that is all but chunked";
const PARAMETER: &str = "RFC 9112 section 7.1: chunked has no parameters";

/// Cases that are refused although their tier is `Compliant`, and why.
const REFUSED: &[(&str, &str)] = &[
    ("Correct TE OK", CODING),
    ("Transfer-Encoding: identity and chunked OK", CODING),
    (
        "Multiple transfer encoding headers in a single request OK",
        CODING,
    ),
    ("Different Transfer-Encoding headers", CODING),
    ("Different Transfer-Encoding headers combined", CODING),
    ("TE with custom parameters OK", PARAMETER),
    (
        "Transfer-Encoding with a param: chunked;custom_param",
        PARAMETER,
    ),
    (
        "Compliant URL",
        "RFC 9112 section 3.2: a fragment is no part of a request target",
    ),
    ("International in URI", "RFC 3986 section 2: a URI is ASCII"),
    (
        "Empty URI",
        "RFC 9112 section 3: there is a target in every request line",
    ),
];

/// A body longer than this is not sent: that its head is taken must do.
const LONGEST: u64 = 1 << 20;

/// A request, taken apart by the one who wrote the case.
#[derive(Debug, Default)]
struct Case {
    name: String,
    method: String,
    uri: String,
    version: String,
    headers: Vec<(String, String)>,
    tier: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Served,
    Refused(u16),
}

#[test]
fn hostile_cases_of_http_desync_guardian() {
    let cases = cases();
    assert_eq!(cases.len(), CASES);
    let mut table: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let named = |name: &str| cases.iter().any(|case| case.name == name);
    for (name, _) in SERVED.iter().chain(REFUSED) {
        assert!(named(name), "there is no case {name:?}");
    }
    for case in &cases {
        // A case that panics has said why already.
        let Ok(verdict) = std::panic::catch_unwind(|| judge(case)) else {
            wrong.push(format!("{case:?}"));
            continue;
        };
        let refused = verdict != Verdict::Served;
        let exception = |list: &[(&str, &str)]| list.iter().any(|(name, _)| *name == case.name);
        let right = match case.tier.as_str() {
            "Severe" => refused,
            "Ambiguous" => refused != exception(SERVED),
            "Compliant" => refused == exception(REFUSED),
            "Acceptable" => true,
            tier => panic!("a tier of its own: {tier}"),
        };
        let said = if refused { "refused" } else { "served" };
        *table.entry((&case.tier, said)).or_default() += 1;
        if !right {
            wrong.push(format!(
                "{}: {:?} is {verdict:?}: {case:?}",
                case.tier, case.name
            ));
        }
    }
    // Shown with --nocapture, and when the test fails.
    for ((tier, said), count) in table {
        println!("{tier:<10} {said:<7} {count}");
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

/// Sends a case to a proxy of its own.
fn judge(case: &Case) -> Verdict {
    let upstream = Upstream::start();
    let proxy = RunningProxy::before(upstream.address);
    let mut client = Client::connect(proxy.address);
    let input = case.bytes();
    if case.length() > LONGEST {
        client.send(&input, input.len());
        client.end();
        // A request that breaks off has no answer; one that is refused has.
        client.expect_end();
        proxy.stop();
        upstream.finish();
        return Verdict::Served;
    }
    client.send(&input, input.len());
    client.send(BEHIND, BEHIND.len());
    let answer = client.answer_to(&case.method);
    let verdict = if answer.status == 200 {
        assert_eq!(client.answer().status, 200, "{case:?}");
        Verdict::Served
    } else {
        assert!(answer.closes, "{case:?}");
        client.expect_end();
        Verdict::Refused(answer.status)
    };
    drop(client);
    proxy.stop();
    let mut requests = Vec::new();
    for connection in upstream.finish() {
        assert_eq!(connection.rest, b"", "{case:?}");
        requests.extend(connection.requests);
    }
    match verdict {
        Verdict::Served => {
            assert_eq!(requests.len(), 2, "{case:?}");
            assert_eq!(requests.last().map(Vec::as_slice), Some(BEHIND), "{case:?}");
        }
        Verdict::Refused(_) => assert!(requests.is_empty(), "{case:?}"),
    }
    verdict
}

fn is(name: &str, known: &str) -> bool {
    name.trim().eq_ignore_ascii_case(known)
}

impl Case {
    /// The length that it announces, if it does so in a way that can be understood.
    fn length(&self) -> u64 {
        let lengths = self
            .headers
            .iter()
            .filter(|(name, _)| is(name, "content-length"));
        let value = lengths.map(|(_, value)| value.trim()).next_back();
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { method, uri, .. } = self;
        let mut text = match self.version.as_str() {
            // HTTP/0.9
            "" => format!("{method} {uri}\r\n"),
            version => format!("{method} {uri} {version}\r\n"),
        };
        // The cases are not about Host, and none is served without.
        if !self.headers.iter().any(|(name, _)| is(name, "host")) {
            text += "Host: a\r\n";
        }
        let mut body = String::new();
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
            if is(name, "content-length") {
                let length = self.length();
                body = "x".repeat(if length > LONGEST { 0 } else { length as usize });
            } else if is(name, "transfer-encoding") {
                body = "0\r\n\r\n".to_owned();
            }
        }
        text += "\r\n";
        text += &body;
        // The files write bytes as characters; what is none is text.
        let mut bytes = Vec::new();
        for character in text.chars() {
            match u8::try_from(u32::from(character)) {
                Ok(byte) => bytes.push(byte),
                Err(_) => bytes.extend_from_slice(character.to_string().as_bytes()),
            }
        }
        bytes
    }
}

/// All cases of all files.
fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the crate's tests are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| read(&std::fs::read_to_string(file).expect("text")))
        .collect()
}

/// Where cargo keeps the crate.
fn folder() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let package = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "http_desync_guardian")
        .expect("it is a dependency");
    let manifest = package["manifest_path"].as_str().expect("a path");
    PathBuf::from(manifest).with_file_name("tests")
}

/// Reads the few forms of YAML that the files have: a list of maps, scalars on one line, one list below `headers`.
fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        if content.starts_with('#') || content.is_empty() {
            continue;
        }
        let indent = line.len() - content.len();
        let (begins, content) = match content.strip_prefix("- ") {
            Some(content) => (true, content.trim_start()),
            None => (false, content),
        };
        let Some((key, value)) = content.split_once(':') else {
            continue;
        };
        if indent == 0 && begins {
            cases.push(Case::default());
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        let value = scalar(value.trim());
        match (indent, begins, key) {
            (0, true, "name") => case.name = value,
            (2, false, "method") => case.method = value,
            (2, false, "uri") => case.uri = value,
            (2, false, "version") => case.version = value,
            (4, true, "name") => case.headers.push((value, String::new())),
            (6, false, "value") => {
                if let Some((_, last)) = case.headers.last_mut() {
                    *last = value;
                }
            }
            (4, false, "tier") => case.tier = value,
            _ => {}
        }
    }
    cases
}

/// A scalar as the files mean it: what YAML makes of it, and their own escapes on top.
fn scalar(text: &str) -> String {
    if let Some(inner) = text.strip_prefix('\'') {
        let inner = inner.rsplit_once('\'').map_or(inner, |(inner, _)| inner);
        return unescape(&inner.replace("''", "'"));
    }
    if let Some(inner) = text.strip_prefix('"') {
        let inner = inner.rsplit_once('"').map_or(inner, |(inner, _)| inner);
        return unescape(&unescape(inner));
    }
    let plain = text.split(" #").next().unwrap_or_default();
    unescape(plain.trim_end())
}

fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            result.push(character);
            continue;
        }
        match characters.next() {
            Some('x') => {
                let digits: String = characters.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).expect("two hexadecimal digits");
                result.push(char::from(byte));
            }
            Some('n') => result.push('\n'),
            Some('r') => result.push('\r'),
            Some('t') => result.push('\t'),
            Some('b') => result.push('\x08'),
            Some('f') => result.push('\x0c'),
            Some(other) => result.push(other),
            None => {}
        }
    }
    result
}
