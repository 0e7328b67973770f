//! Patterns of origins.

use transom_api::{Node, ParseError, field};

/// Which origins may.
#[derive(Debug, PartialEq)]
pub(super) enum OriginPattern {
    /// `*`
    Any,
    /// `https://app.example`
    Exact(String),
    /// `https://*.app.example`: what stands before and behind the star.
    Within(String, String),
}

impl OriginPattern {
    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let text = node.as_str()?;
        if text == "*" {
            return Ok(Self::Any);
        }
        let refused = |message: String, help: &str| Err(node.error(message).with_help(help));
        if text != "null" && !is_origin(text) {
            return refused(
                format!("{text:?} is no origin"),
                "an origin is a scheme, a host and maybe a port: https://app.example:8443, without a slash at its end",
            );
        }
        let Some((before, behind)) = text.split_once('*') else {
            return Ok(Self::Exact(text.to_owned()));
        };
        if behind.contains('*') {
            return refused(
                format!("{text:?} has more than one star"),
                "name the origins that are meant one by one",
            );
        }
        // `https://*example.org` would let https://evilexample.org in, `https://app.*` any domain that begins so.
        let whole_labels = before.ends_with("://") && behind.starts_with('.')
            || before.ends_with('.') && behind.starts_with('.')
            || before.ends_with(':') && behind.is_empty();
        if !whole_labels {
            return refused(
                format!("the star in {text:?} stands for no whole part"),
                "it stands for what is before a dot, https://*.app.example, or for a port, http://localhost:*",
            );
        }
        Ok(Self::Within(before.to_owned(), behind.to_owned()))
    }

    /// Browsers write schemes and hosts in lower case, so bytes are compared.
    pub(super) fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => origin == exact.as_bytes(),
            Self::Within(before, behind) => origin
                .strip_prefix(before.as_bytes())
                .and_then(|rest| rest.strip_suffix(behind.as_bytes()))
                .is_some_and(|part| !part.is_empty() && part.iter().all(|byte| is_part(*byte))),
        }
    }
}

/// What a star may stand for: no slash and no colon, so that it stays within a host or a port.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let good = |byte: u8| is_part(byte) || b":[]*".contains(&byte);
    !host.is_empty()
        && field::Pseudo::Scheme.takes(scheme.as_bytes())
        && host.bytes().all(good)
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<OriginPattern, ParseError> {
        OriginPattern::parse(&text.into())
    }

    #[test]
    fn a_star_stands_for_one_part_of_an_origin() {
        for (text, origin, expected) in [
            ("https://a.test", "https://a.test", true),
            ("https://a.test", "https://A.test", false),
            ("https://a.test", "http://a.test", false),
            ("https://a.test", "https://a.test:8443", false),
            ("https://a.test", "https://a.test.evil.test", false),
            ("https://*.a.test", "https://x.a.test", true),
            ("https://*.a.test", "https://x.y.a.test", true),
            ("https://*.a.test", "https://a.test", false),
            ("https://*.a.test", "https://.a.test", false),
            ("https://*.a.test", "https://evil.test/.a.test", false),
            ("https://*.a.test", "https://evil.test:1.a.test", false),
            ("http://localhost:*", "http://localhost:3000", true),
            ("http://localhost:*", "http://localhost", false),
            ("http://localhost:*", "http://localhost:", false),
            ("null", "null", true),
            ("*", "null", true),
            ("*", "anything", true),
        ] {
            let pattern = pattern(text).unwrap();
            assert_eq!(
                pattern.matches(origin.as_bytes()),
                expected,
                "{text}: {origin}"
            );
        }
    }

    #[test]
    fn what_lets_more_in_than_it_seems_is_refused() {
        for text in [
            "",
            "a.test",
            "https://",
            "https://a.test/",
            "https://A.test",
            "https://*a.test",
            "https://a.*",
            "https://*",
            "https://*.*.test",
            "*.a.test",
            "https://a.test, https://b.test",
            "https://caf\u{e9}.test",
        ] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
