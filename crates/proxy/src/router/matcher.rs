//! What one route asks of a request, ready to be tested.

use std::borrow::Cow;
use std::collections::HashMap;

use regex::bytes::Regex;
use transom_config::{FieldMatch, PathMatch, Pattern, RouteMatch, ValueMatch};

use crate::http::head::{Head, Pseudo};

/// The path of `OPTIONS *`. It stands for the server as a whole (RFC 9110 section 9.3.7): a route for all paths takes it,
/// the one of the prefix [`ALL_PATHS`].
pub(super) const ASTERISK: &[u8] = b"*";
pub(super) const ALL_PATHS: &[u8] = b"/";

/// What a request looks like to the router.
#[derive(Clone, Copy)]
pub(crate) struct Request<'r> {
    pub(crate) head: &'r Head,
    pub(crate) authority: &'r [u8],
    /// Without its query.
    pub(crate) path: &'r [u8],
    pub(crate) query: &'r [u8],
}

/// The compiled patterns of a table, without repetitions. A search needs memory of its own, which threads would hand to
/// and fro under a lock: each worker clones the list, and its clones have caches of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns(Vec<Regex>);

/// Collects patterns.
#[derive(Debug, Default)]
pub(crate) struct PatternsBuilder {
    patterns: Patterns,
    known: HashMap<String, PatternId>,
}

/// A pattern's place in [`Patterns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PatternId(u32);

/// What a route asks: its path first, then the rest.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) path: PathTest,
    pub(crate) tests: Box<[Test]>,
}

/// What is asked of the path.
#[derive(Debug)]
pub(crate) enum PathTest {
    Any,
    Prefix(Box<[u8]>),
    Exact(Box<[u8]>),
    Regex(PatternId),
    /// CONNECT, which has none.
    Connect,
}

/// What else is asked.
#[derive(Debug)]
pub(crate) enum Test {
    Method(Vec<Box<[u8]>>),
    Header(FieldTest),
    Query(FieldTest),
}

/// What is asked of a header field or of a parameter of the query.
#[derive(Debug)]
pub(crate) struct FieldTest {
    name: Box<[u8]>,
    value: ValueTest,
    invert: bool,
}

#[derive(Debug)]
enum ValueTest {
    Present,
    Absent,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Regex(PatternId),
}

impl<'r> Request<'r> {
    pub(crate) fn of(head: &'r Head) -> Self {
        let target = head.pseudo(Pseudo::Path).unwrap_or_default();
        let (path, query) = crate::stream::split_query(target);
        Self {
            head,
            authority: head.pseudo(Pseudo::Authority).unwrap_or_default(),
            path,
            query,
        }
    }

    /// Whether it asks for a tunnel (RFC 9110 section 9.3.6), which only routes for that may give.
    #[inline]
    pub(crate) fn is_connect(&self) -> bool {
        self.head.pseudo(Pseudo::Method) == Some(b"CONNECT")
    }
}

impl Patterns {
    pub(crate) fn get(&self, id: PatternId) -> Option<&Regex> {
        self.0.get(id.0 as usize)
    }

    fn matches(&self, id: PatternId, value: &[u8]) -> bool {
        self.get(id).is_some_and(|regex| regex.is_match(value))
    }
}

impl PatternsBuilder {
    pub(crate) fn add(&mut self, pattern: &Pattern) -> PatternId {
        let regex = pattern.regex();
        if let Some(id) = self.known.get(regex.as_str()) {
            return *id;
        }
        let id = PatternId(self.patterns.0.len() as u32);
        self.known.insert(regex.as_str().to_owned(), id);
        self.patterns.0.push(regex.clone());
        id
    }

    pub(crate) fn finish(self) -> Patterns {
        self.patterns
    }
}

impl Matcher {
    pub(crate) fn new(matcher: &RouteMatch, patterns: &mut PatternsBuilder) -> Self {
        let path = match &matcher.path {
            PathMatch::Any => PathTest::Any,
            PathMatch::Prefix(prefix) => PathTest::Prefix(bytes(prefix)),
            PathMatch::Exact(path) => PathTest::Exact(bytes(path)),
            PathMatch::Regex(pattern) => PathTest::Regex(patterns.add(pattern)),
            PathMatch::Connect => PathTest::Connect,
        };
        let mut tests = Vec::new();
        if !matcher.methods.is_empty() {
            let methods = matcher.methods.iter();
            tests.push(Test::Method(methods.map(|method| bytes(method)).collect()));
        }
        for field in &matcher.headers {
            tests.push(Test::Header(FieldTest::new(field, patterns)));
        }
        for field in &matcher.query {
            tests.push(Test::Query(FieldTest::new(field, patterns)));
        }
        Self {
            path,
            tests: tests.into(),
        }
    }

    /// Whether the path is one that this route takes.
    pub(crate) fn takes_path(&self, patterns: &Patterns, path: &[u8]) -> bool {
        match &self.path {
            PathTest::Any => true,
            PathTest::Prefix(prefix) => {
                path.starts_with(prefix) || (path == ASTERISK && **prefix == *ALL_PATHS)
            }
            PathTest::Exact(exact) => path == &**exact,
            PathTest::Regex(id) => patterns.matches(*id, path),
            PathTest::Connect => false,
        }
    }

    /// Whether all that is asked beside the path holds.
    pub(crate) fn takes_rest(&self, patterns: &Patterns, request: &Request<'_>) -> bool {
        self.tests.iter().all(|test| test.holds(patterns, request))
    }
}

impl Test {
    pub(crate) fn holds(&self, patterns: &Patterns, request: &Request<'_>) -> bool {
        match self {
            Self::Method(methods) => {
                let method = request.head.pseudo(Pseudo::Method).unwrap_or_default();
                methods.iter().any(|asked| **asked == *method)
            }
            Self::Header(field) => field.holds(patterns, header(request.head, &field.name)),
            Self::Query(field) => field.holds(patterns, parameter(request.query, &field.name)),
        }
    }
}

impl FieldTest {
    pub(crate) fn new(field: &FieldMatch, patterns: &mut PatternsBuilder) -> Self {
        Self {
            name: bytes(&field.name),
            value: match &field.value {
                ValueMatch::Present => ValueTest::Present,
                ValueMatch::Absent => ValueTest::Absent,
                ValueMatch::Exact(value) => ValueTest::Exact(bytes(value)),
                ValueMatch::Prefix(value) => ValueTest::Prefix(bytes(value)),
                ValueMatch::Suffix(value) => ValueTest::Suffix(bytes(value)),
                ValueMatch::Regex(pattern) => ValueTest::Regex(patterns.add(pattern)),
            },
            invert: field.invert,
        }
    }

    pub(crate) fn name(&self) -> &str {
        // It was text.
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    pub(crate) fn holds(&self, patterns: &Patterns, value: Option<Cow<'_, [u8]>>) -> bool {
        let holds = match (&self.value, value) {
            (ValueTest::Present, value) => value.is_some(),
            (ValueTest::Absent, value) => value.is_none(),
            (_, None) => false,
            (ValueTest::Exact(exact), Some(value)) => *value == **exact,
            (ValueTest::Prefix(prefix), Some(value)) => value.starts_with(prefix),
            (ValueTest::Suffix(suffix), Some(value)) => value.ends_with(suffix),
            (ValueTest::Regex(id), Some(value)) => patterns.matches(*id, &value),
        };
        holds != self.invert
    }
}

/// The value of a header field. Those of a field that is repeated are joined: they mean one list (RFC 9110 section
/// 5.3), and a client must not hide a value from a route by sending another before it.
fn header<'h>(head: &'h Head, name: &[u8]) -> Option<Cow<'h, [u8]>> {
    let mut values = head.values(name);
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(Cow::Borrowed(first));
    };
    let mut joined = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.push(b',');
        joined.extend_from_slice(value);
    }
    Some(Cow::Owned(joined))
}

/// The value of the first parameter of this name.
fn parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<Cow<'q, [u8]>> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=');
        let (key, value) = match at {
            Some(at) => (pair.get(..at)?, pair.get(at + 1..)?),
            None => (pair, &[][..]),
        };
        (*decoded(key) == *name).then(|| decoded(value))
    })
}

/// Percent-decoded (RFC 3986 section 2.1); what is no such code stays as it is.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match after {
            [high, low, beyond @ ..] if *first == b'%' => match hex(*high, *low) {
                Some(byte) => {
                    decoded.push(byte);
                    rest = beyond;
                }
                None => decoded.push(*first),
            },
            _ => decoded.push(*first),
        }
    }
    Cow::Owned(decoded)
}

/// The byte that two hexadecimal digits mean.
pub(crate) fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
        let mut head = Head::default();
        head.set_pseudo(Pseudo::Method, method.as_bytes());
        head.set_pseudo(Pseudo::Path, target.as_bytes());
        for (name, value) in fields {
            head.push_own(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn takes(matcher: &RouteMatch, head: &Head) -> bool {
        let mut patterns = PatternsBuilder::default();
        let matcher = Matcher::new(matcher, &mut patterns);
        let patterns = patterns.finish();
        let request = Request::of(head);
        matcher.takes_path(&patterns, request.path) && matcher.takes_rest(&patterns, &request)
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::whole(text).unwrap()
    }

    fn field(name: &str, value: ValueMatch, invert: bool) -> FieldMatch {
        FieldMatch {
            name: name.to_owned(),
            value,
            invert,
        }
    }

    #[test]
    fn paths() {
        let exact = |path: &str| PathMatch::Exact(path.to_owned());
        let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
        for (path, target, expected) in [
            (PathMatch::Any, "*", true),
            (exact("/a"), "/a?b", true),
            (exact("/a"), "/a/", false),
            (exact("/a"), "/A", false),
            (prefix("/a"), "/ab?c", true),
            (prefix("/a/"), "/a", false),
            (prefix("/"), "*", true),
            (prefix("/a"), "*", false),
            (prefix("/"), "*a", false),
            (PathMatch::Regex(pattern("/[0-9]+")), "/12?x", true),
            (PathMatch::Regex(pattern("/[0-9]+")), "/12/", false),
        ] {
            let head = request("GET", target, &[]);
            assert_eq!(
                takes(&path.clone().into(), &head),
                expected,
                "{path:?} {target}"
            );
        }
    }

    #[test]
    fn methods() {
        let matcher = RouteMatch {
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            ..RouteMatch::default()
        };
        for (method, expected) in [
            ("GET", true),
            ("HEAD", true),
            ("POST", false),
            ("get", false),
        ] {
            let head = request(method, "/", &[]);
            assert_eq!(takes(&matcher, &head), expected, "{method}");
        }
    }

    #[test]
    fn values_of_headers_and_parameters() {
        let text = |text: &str| text.to_owned();
        // What is asked, the value that is there, whether it is taken, and whether it is when inverted.
        for (value, given, plain) in [
            (ValueMatch::Present, Some("x"), true),
            (ValueMatch::Present, Some(""), true),
            (ValueMatch::Present, None, false),
            (ValueMatch::Absent, Some("x"), false),
            (ValueMatch::Absent, None, true),
            (ValueMatch::Exact(text("ab")), Some("ab"), true),
            (ValueMatch::Exact(text("ab")), Some("AB"), false),
            (ValueMatch::Exact(text("ab")), None, false),
            (ValueMatch::Exact(text("")), Some(""), true),
            (ValueMatch::Prefix(text("a")), Some("ab"), true),
            (ValueMatch::Prefix(text("b")), Some("ab"), false),
            (ValueMatch::Suffix(text("b")), Some("ab"), true),
            (ValueMatch::Suffix(text("a")), Some("ab"), false),
            (ValueMatch::Regex(pattern("a.")), Some("ab"), true),
            (ValueMatch::Regex(pattern("a")), Some("ab"), false),
            (ValueMatch::Regex(pattern("a*")), None, false),
        ] {
            for invert in [false, true] {
                let asked = format!("{value:?} of {given:?}, inverted {invert}");
                let headers = RouteMatch {
                    headers: vec![field("X-Test", value.clone(), invert)],
                    ..RouteMatch::default()
                };
                let fields: Vec<_> = given.iter().map(|value| ("x-TEST", *value)).collect();
                let head = request("GET", "/?x-test=other", &fields);
                assert_eq!(takes(&headers, &head), plain != invert, "{asked}");

                let query = RouteMatch {
                    query: vec![field("key", value.clone(), invert)],
                    ..RouteMatch::default()
                };
                let target = given.map_or("/?Key=z".to_owned(), |value| format!("/?a&key={value}"));
                let head = request("GET", &target, &[("key", "other")]);
                assert_eq!(takes(&query, &head), plain != invert, "{asked}");
            }
        }
    }

    #[test]
    fn a_repeated_header_counts_as_one_list() {
        let matcher = |value: &str| RouteMatch {
            headers: vec![field("x", ValueMatch::Exact(value.to_owned()), false)],
            ..RouteMatch::default()
        };
        let head = request(
            "GET",
            "/",
            &[("x", "a"), ("y", "z"), ("X", "b"), ("x", "c")],
        );
        assert!(takes(&matcher("a,b,c"), &head));
        assert!(!takes(&matcher("a"), &head));
    }

    #[test]
    fn the_query_is_decoded_and_the_first_of_a_name_counts() {
        for (query, expected) in [
            ("a=1&b=2", Some("1")),
            ("b=2", None),
            ("a", Some("")),
            ("a=", Some("")),
            ("a=1&a=2", Some("1")),
            ("%61=%31%2f%zz%", Some("1/%zz%")),
            ("a=b=c", Some("b=c")),
            ("", None),
        ] {
            let value = parameter(query.as_bytes(), b"a");
            assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{query}");
        }
    }

    #[test]
    fn equal_patterns_are_compiled_once() {
        let mut patterns = PatternsBuilder::default();
        let first = patterns.add(&pattern("a"));
        assert_eq!(patterns.add(&pattern("a")), first);
        assert_ne!(patterns.add(&pattern("b")), first);
        assert_ne!(patterns.add(&Pattern::anywhere("a").unwrap()), first);
        assert_eq!(patterns.finish().0.len(), 3);
    }
}
