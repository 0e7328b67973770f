//! What a route asks of requests.

use transom_api::Span;
use transom_api::field;
use transom_api::field::Pseudo;

use super::Lowering;
use crate::file;
use crate::report::Problem;
use crate::{FieldMatch, Located, PathMatch, Pattern, RouteMatch, ValueMatch};

/// Whose fields are matched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Headers,
    Query,
    /// Those of these names.
    Attributes(&'static [&'static [&'static str]]),
}

/// What is asked of the path, as written.
pub(super) struct WrittenPath {
    pub(super) prefix: Option<Located<String>>,
    pub(super) path: Option<Located<String>>,
    pub(super) regex: Option<Located<String>>,
    pub(super) connect: Option<Located<String>>,
}

type Make = fn(String) -> ValueMatch;

impl Lowering<'_> {
    pub(super) fn matcher(&mut self, matcher: Located<file::Match>) -> Option<RouteMatch> {
        let Located { value, span } = matcher;
        let says_more = !value.methods.items.is_empty()
            || !value.headers.items.is_empty()
            || !value.query.items.is_empty();
        let connect = value
            .connect
            .then(|| Located::at("connect".to_owned(), span));
        let written = WrittenPath {
            prefix: value.prefix,
            path: value.path,
            regex: value.regex,
            connect,
        };
        let path = match self.path_match(written, span)? {
            PathMatch::Any if says_more => PathMatch::Any,
            PathMatch::Any if self.problems.any_within(span) => return None,
            PathMatch::Any => {
                self.problems
                    .push(Problem::new("`match` says nothing", span).with_help(
                        "write {prefix: /} for all requests, {prefix: /api/} or {path: /health}",
                    ));
                return None;
            }
            path => path,
        };
        let is_connect = path == PathMatch::Connect;
        Some(RouteMatch {
            path,
            methods: self.methods(value.methods, is_connect),
            headers: self.fields(Of::Headers, value.headers),
            query: self.fields(Of::Query, value.query),
        })
    }

    /// What is asked of the path; [`PathMatch::Any`] when nothing is.
    pub(super) fn path_match(
        &mut self,
        written: WrittenPath,
        whole: Option<Span>,
    ) -> Option<PathMatch> {
        let WrittenPath {
            prefix,
            path,
            regex,
            connect,
        } = written;
        Some(match (prefix, path, regex, connect) {
            (Some(prefix), None, None, None) => {
                self.check_path(&prefix);
                PathMatch::Prefix(prefix.value)
            }
            (None, Some(path), None, None) => {
                self.check_path(&path);
                PathMatch::Exact(path.value)
            }
            (None, None, Some(regex), None) => PathMatch::Regex(self.pattern(&regex)?),
            (None, None, None, Some(_)) => PathMatch::Connect,
            (None, None, None, None) => PathMatch::Any,
            (prefix, path, regex, connect) => {
                let given: Vec<(&str, Located<String>)> = [
                    ("prefix", prefix),
                    ("path", path),
                    ("regex", regex),
                    ("connect", connect),
                ]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
                let names: Vec<String> =
                    given.iter().map(|(name, _)| format!("`{name}`")).collect();
                let message = format!("{} exclude each other", names.join(" and "));
                let place = given.last().and_then(|(_, value)| value.span).or(whole);
                self.problems.push(Problem::new(message, place));
                return None;
            }
        })
    }

    /// Methods. `connect`: CONNECT may be among them.
    pub(super) fn methods(
        &mut self,
        methods: file::Items<Located<String>>,
        connect: bool,
    ) -> Vec<String> {
        let methods = methods.items.into_iter().map(|method| {
            if !Pseudo::Method.takes(method.as_bytes()) {
                let message = format!("{:?} is no method", method.value);
                self.problems.push(Problem::new(message, method.span));
            } else if method.value == "CONNECT" && !connect {
                self.problems.push(
                    Problem::new("this route takes no CONNECT", method.span)
                        .with_help("requests for a tunnel are matched by `connect: true`"),
                );
            }
            method.value
        });
        methods.collect()
    }

    pub(super) fn check_path(&mut self, path: &Located<String>) {
        if !path.starts_with('/') {
            self.problems.push(
                Problem::new(format!("no path begins with {:?}", path.value), path.span)
                    .with_help("paths begin with a slash"),
            );
        } else if let Some(character) = path
            .chars()
            .find(|c| matches!(c, '?' | '#') || c.is_whitespace())
        {
            self.problems.push(
                Problem::new(
                    format!("no path has the character {character:?}"),
                    path.span,
                )
                .with_help("what is matched is the path of the request, without its query"),
            );
        }
    }

    pub(super) fn fields(
        &mut self,
        of: Of,
        fields: file::Items<Located<file::FieldMatch>>,
    ) -> Vec<FieldMatch> {
        let fields = fields.items.into_iter();
        fields.filter_map(|field| self.field(of, field)).collect()
    }

    fn field(&mut self, of: Of, field: Located<file::FieldMatch>) -> Option<FieldMatch> {
        let Located { value, span } = field;
        let name = value.name;
        if of == Of::Headers && Pseudo::of(name.as_bytes()).is_some() {
            self.problems.push(
                Problem::new(format!("`{name}` is no header field here"), name.span).with_help(
                    "methods are matched by `methods`, paths by `path`, `prefix` or `regex`, hosts by `domains`",
                ),
            );
        } else if of == Of::Headers && !field::is_name(name.as_bytes()) {
            let message = format!("{:?} is no name of a header field", name.value);
            self.problems.push(Problem::new(message, name.span));
        } else if let Of::Attributes(known) = of {
            self.check_attribute(&name, known);
        }
        let mut asked = Vec::new();
        let texts: [(_, Make); 3] = [
            (value.exact, ValueMatch::Exact),
            (value.prefix, ValueMatch::Prefix),
            (value.suffix, ValueMatch::Suffix),
        ];
        for (text, what) in texts {
            asked.extend(text.map(|text| (what(text.value), text.span)));
        }
        if let Some(regex) = value.regex {
            asked.push((ValueMatch::Regex(self.pattern(&regex)?), regex.span));
        }
        let words = [
            (value.present, ValueMatch::Present),
            (value.absent, ValueMatch::Absent),
        ];
        for (said, what) in words {
            asked.extend(said.then_some((what, span)));
        }
        const KEYS: &str =
            "write one of `exact`, `prefix`, `suffix`, `regex`, `present: true`, `absent: true`";
        let mut asked = asked.into_iter();
        let first = asked.next();
        if let Some((_, place)) = asked.next() {
            let message = format!("two things are asked of `{name}`");
            self.problems
                .push(Problem::new(message, place).with_help(KEYS));
            return None;
        }
        let Some((asked, _)) = first else {
            if !self.problems.any_within(span) {
                let message = format!("nothing is asked of `{name}`");
                self.problems
                    .push(Problem::new(message, span).with_help(KEYS));
            }
            return None;
        };
        Some(FieldMatch {
            name: name.value,
            value: asked,
            invert: value.invert,
        })
    }

    /// A regular expression that the whole of a value must match.
    pub(super) fn pattern(&mut self, text: &Located<String>) -> Option<Pattern> {
        match Pattern::whole(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                self.problems.push(error.or_at(text.span));
                None
            }
        }
    }
}
