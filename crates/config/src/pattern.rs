//! Regular expressions of routes.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use transom_api::ParseError;

/// Longer ones are tables that want to be written as routes.
const LONGEST: usize = 4 << 10;

/// What a compiled pattern may occupy, and each worker's cache for it. Far more than a path needs; a repetition of
/// repetitions is stopped here.
const LARGEST: usize = 1 << 20;

/// A regular expression in the syntax of the crate [`regex`](https://docs.rs/regex/latest/regex/#syntax), without
/// look-around and back-references: it is searched in time linear in what is searched. It works on bytes: `.` is any
/// byte but a line feed, and classes such as `\w` are those of ASCII.
///
/// Equal texts are equal patterns.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// A pattern that the whole of a value must match.
    pub fn whole(text: &str) -> Result<Self, ParseError> {
        // By itself first: the error is then about what was written, and no bracket can close the one below.
        compile(text)?;
        Ok(Self {
            text: text.to_owned(),
            regex: compile(&format!(r"\A(?:{text})\z"))?,
        })
    }

    /// A pattern that is looked for anywhere in a value.
    pub fn anywhere(text: &str) -> Result<Self, ParseError> {
        Ok(Self {
            text: text.to_owned(),
            regex: compile(text)?,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// It compiled. Threads that search at the same time clone it: the clone has a cache of its own.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.regex
    }
}

fn compile(text: &str) -> Result<Regex, ParseError> {
    if text.len() > LONGEST {
        let message = format!("a regular expression of {} bytes is too long", text.len());
        return Err(ParseError::new(message).with_help("4096 bytes are the most"));
    }
    let compiled = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(LARGEST)
        .dfa_size_limit(LARGEST)
        .build();
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => ParseError::new(format!(
            "this regular expression takes more than {limit} bytes when it is compiled"
        ))
        .with_help("counted repetitions of repetitions, such as (a{1000}){1000}, do that"),
        error => {
            // The first lines draw the pattern with a caret, which the report does by itself.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            ParseError::new(format!("this is no regular expression: {reason}"))
        }
    })
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_pattern_matches_from_end_to_end() {
        let pattern = Pattern::whole("/a|/b+").unwrap();
        for (text, matches) in [("/a", true), ("/bb", true), ("/ab", false), ("x/a", false)] {
            assert_eq!(pattern.regex().is_match(text.as_bytes()), matches, "{text}");
        }
        assert_eq!(pattern.as_str(), "/a|/b+");
    }

    #[test]
    fn patterns_work_on_bytes() {
        let pattern = Pattern::whole("/.+").unwrap();
        assert!(pattern.regex().is_match(b"/\xff\xfe"));
        assert!(
            !Pattern::whole(r"\w")
                .unwrap()
                .regex()
                .is_match("ä".as_bytes())
        );
    }

    #[test]
    fn what_is_no_pattern_or_too_large_is_refused() {
        for (text, reason) in [
            ("(", "unclosed group"),
            ("a)|(b", "unopened group"),
            ("(?=a)", "look-around"),
            (r"(a)\1", "backreferences are not supported"),
            ("((a{1000}){1000}){1000}", "takes more than"),
            (&"a".repeat(5000), "too long"),
        ] {
            let error = Pattern::whole(text).unwrap_err();
            assert!(error.message.contains(reason), "{text:.20}: {error}");
        }
    }
}
