//! Users and the hashes of their passwords.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use transom_api::{Node, ParseError};

type Hash = [u8; 20];

/// Names and hashes.
#[derive(Default)]
pub(super) struct Users(HashMap<Vec<u8>, Hash>);

impl Users {
    /// Reads the lines of an htpasswd file. Blank lines and those that begin with `#` say nothing.
    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut users = Self::default();
        for (number, line) in node.as_str()?.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line itself is a secret and not shown.
            let refused = |what: &str, help: &str| {
                Err(node
                    .error(format!("line {} of `users` {what}", number + 1))
                    .with_help(help))
            };
            let help = "`htpasswd -nbs NAME PASSWORD` prints such a line: name:{SHA}…";
            let Some((name, hash)) = line.split_once(':') else {
                return refused("has no colon", help);
            };
            if name.is_empty() || name.chars().any(char::is_control) {
                return refused("has no name", help);
            }
            let Some(hash) = hash.strip_prefix("{SHA}") else {
                return refused("has no {SHA} behind its name", help);
            };
            let Some(hash) = STANDARD
                .decode(hash)
                .ok()
                .and_then(|hash| Hash::try_from(hash).ok())
            else {
                return refused("has no SHA-1 hash", help);
            };
            if users.0.insert(name.as_bytes().to_vec(), hash).is_some() {
                return refused(&format!("names `{name}` again"), "each user has one line");
            }
        }
        if users.0.is_empty() {
            return Err(node.error("at least one user must be named"));
        }
        Ok(users)
    }

    /// Whether there is such a user with this password. A name that is not there takes as long as one that is.
    pub(super) fn have(&self, name: &[u8], password: &[u8]) -> bool {
        let hash = Hash::from(Sha1::digest(password));
        let known = self.0.get(name);
        let same = hash.ct_eq(known.unwrap_or(&[0; 20]));
        known.is_some() & bool::from(same)
    }
}

/// Neither names nor hashes belong into a log.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use transom_api::testing::placed;

    use super::*;

    // The first is RFC 3174's test 1, "abc"; the second is of no bytes at all.
    const LINES: &str = "# staff\nada:{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\n\n  eve:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\r\n";

    #[test]
    fn only_a_user_with_his_own_password_is_there() {
        let users = Users::parse(&LINES.into()).unwrap();
        for (name, password, expected) in [
            ("ada", "abc", true),
            ("eve", "", true),
            ("ada", "", false),
            ("ada", "abcd", false),
            ("Ada", "abc", false),
            ("", "abc", false),
            ("bob", "abc", false),
        ] {
            let found = users.have(name.as_bytes(), password.as_bytes());
            assert_eq!(found, expected, "{name}:{password}");
        }
        assert_eq!(format!("{users:?}"), "2 users");
    }

    #[test]
    fn bad_lines_are_told_by_their_number_and_not_shown() {
        for (lines, expected) in [
            ("ada", "line 1 of `users` has no colon"),
            ("\n:{SHA}x", "line 2 of `users` has no name"),
            (
                "ada:secret",
                "line 1 of `users` has no {SHA} behind its name",
            ),
            (
                "ada:$apr1$x$y",
                "line 1 of `users` has no {SHA} behind its name",
            ),
            ("ada:{SHA}abc", "line 1 of `users` has no SHA-1 hash"),
            ("ada:{SHA}YWJj", "line 1 of `users` has no SHA-1 hash"),
            ("# nobody\n", "at least one user must be named"),
        ] {
            let error = Users::parse(&lines.into()).unwrap_err();
            assert_eq!(error.message, expected);
        }
        let twice = format!("{LINES}{LINES}");
        let error = Users::parse(&placed(&twice.as_str().into())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1, column 1: line 6 of `users` names `ada` again (each user has one line)"
        );
    }
}
