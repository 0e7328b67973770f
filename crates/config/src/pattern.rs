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

    /// Whether all groups that a substitution names (`$1`, `${name}`) are in the pattern: the search would put nothing in
    /// place of one that is not.
    pub(crate) fn check_substitution(&self, substitution: &str) -> Result<(), ParseError> {
        let mut rest = substitution;
        while let Some((_, after)) = rest.split_once('$') {
            if let Some(after) = after.strip_prefix('$') {
                rest = after;
                continue;
            }
            let (name, beyond) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').unwrap_or(("", braced)),
                None => {
                    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
                    after.split_at_checked(end).unwrap_or((after, ""))
                }
            };
            let is_known = match name.parse::<usize>() {
                Ok(number) => number < self.regex.captures_len(),
                Err(_) => self.regex.capture_names().flatten().any(|it| it == name),
            };
            if !is_known {
                let message = format!("the pattern has no group `{name}`");
                return Err(ParseError::new(message).with_help(
                    "a group stands in parentheses; `${1}x` is the first one and an x, `$$` is a `$`",
                ));
            }
            rest = beyond;
        }
        Ok(())
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
    fn a_substitution_names_groups_that_are_there() {
        let pattern = Pattern::anywhere("/(a+)/(?<rest>.*)").unwrap();
        for good in ["", "/b", "/$1", "/${1}x/$rest", "/${rest}$2$0", "/$$9"] {
            assert_eq!(pattern.check_substitution(good), Ok(()), "{good}");
        }
        for bad in ["$3", "$1x", "${rest", "$", "$ ", "$other"] {
            assert!(pattern.check_substitution(bad).is_err(), "{bad}");
        }
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
