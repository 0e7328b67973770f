//! A second look for secrets in what is about to be shown.
//!
//! Who gives the tree knows which of its values are secret and hides them. This module does not know, so it goes by names
//! and shapes: a value is hidden when its key says what it is (`password`, `api_key`), when it is the value of a field or
//! argument of such a name (`{name: Authorization, value: …}`, `--token=…`), or when its text shows it (a private key, a
//! URL with a password). It would rather hide one value too many; but keys that merely contain such a word (`token_bucket`,
//! `password_file`) are shown, or a dump would be no use.

use transom_api::{Node, NodeKind};

/// What stands in a secret's place.
const HIDDEN: &str = "[hidden]";

/// Last words of keys whose values are secret.
const WORDS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "authorization",
    "cookie",
    "apikey",
    "privatekey",
];
/// Words that make a secret of a key that ends in `key`: a `key` alone is mostly the name of something.
const OF_KEYS: [&str; 9] = [
    "private",
    "secret",
    "api",
    "access",
    "signing",
    "encryption",
    "hmac",
    "shared",
    "account",
];

/// Hides what looks secret, in place.
pub(crate) fn hide(node: &mut Node) {
    match &mut node.kind {
        NodeKind::Map(entries) => {
            // `{name: Authorization, value: Bearer …}`
            let named = entries.iter().any(|(key, value)| {
                matches!(key.name.as_str(), "name" | "key" | "header")
                    && matches!(&value.kind, NodeKind::String(name) if is_secret(name))
            });
            for (key, value) in entries {
                if is_secret(&key.name) || named && matches!(key.name.as_str(), "value" | "values")
                {
                    blank(value);
                } else if is_secrets(&key.name) {
                    blank_texts(value);
                } else {
                    hide(value);
                }
            }
        }
        NodeKind::List(items) => {
            // `[--token, …]`
            let mut named = false;
            for item in items {
                if std::mem::take(&mut named) {
                    blank(item);
                    continue;
                }
                if let NodeKind::String(text) = &item.kind {
                    named = text.starts_with('-') && !text.contains('=') && is_secret(text);
                }
                hide(item);
            }
        }
        NodeKind::String(text) => {
            if let Some(shown) = without_secret(text) {
                *text = shown;
            }
        }
        NodeKind::Null | NodeKind::Bool(_) | NodeKind::Integer(_) | NodeKind::Float(_) => {}
    }
}

/// Hides every text and number below. What is left says that something is set, and whether it is on.
fn blank(node: &mut Node) {
    match &mut node.kind {
        NodeKind::Null | NodeKind::Bool(_) => {}
        NodeKind::Integer(_) | NodeKind::Float(_) | NodeKind::String(_) => {
            node.kind = NodeKind::String(HIDDEN.to_owned());
        }
        NodeKind::List(items) => items.iter_mut().for_each(blank),
        NodeKind::Map(entries) => entries.iter_mut().for_each(|(_, value)| blank(value)),
    }
}

/// Under a plural: texts are secrets, a number is how many (`max_tokens`), and maps are things with names of their own.
fn blank_texts(node: &mut Node) {
    match &mut node.kind {
        NodeKind::String(_) => blank(node),
        NodeKind::List(items) => items.iter_mut().for_each(blank_texts),
        _ => hide(node),
    }
}

/// Whether a key, a header's name or an argument names one secret.
fn is_secret(name: &str) -> bool {
    let words = words(name);
    match words.as_slice() {
        [.., of, key] if key == "key" => OF_KEYS.contains(&of.as_str()),
        [.., last] => WORDS.contains(&last.as_str()),
        [] => false,
    }
}

/// Whether a key names several.
fn is_secrets(name: &str) -> bool {
    name.strip_suffix(['s', 'S']).is_some_and(is_secret)
}

/// The words of `api_key`, `X-Api-Key`, `apiKey`, `--api-key`, `API_KEY`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut after_small = false;
    for character in name.chars() {
        let ends = !character.is_alphanumeric() || after_small && character.is_uppercase();
        if ends && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
        after_small = character.is_lowercase() || character.is_numeric();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The text with its secret part hidden; `None` when it shows none.
fn without_secret(text: &str) -> Option<String> {
    // RFC 7468: the label of PKCS#1, PKCS#8, SEC 1 and OpenSSH keys ends in these words.
    if text.contains("PRIVATE KEY-----") {
        return Some(HIDDEN.to_owned());
    }
    // RFC 9110, section 11.4: scheme and credentials.
    for scheme in ["bearer ", "basic "] {
        if text
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        {
            return Some(format!("{}{HIDDEN}", text.get(..scheme.len())?));
        }
    }
    // `--token=…`, `TOKEN=…`
    if let Some((name, value)) = text.split_once('=')
        && !value.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && is_secret(name)
    {
        return Some(format!("{name}={HIDDEN}"));
    }
    // RFC 3986, section 3.2.1: `scheme://user:password@host`, up to the last @ before the path.
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let (user_info, host) = authority.rsplit_once('@')?;
    let (user, _) = user_info.split_once(':')?;
    Some(format!("{scheme}://{user}:{HIDDEN}@{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(mut node: Node) -> Node {
        hide(&mut node);
        node
    }

    #[test]
    fn keys_that_name_a_secret_hide_their_value() {
        for key in [
            "password",
            "Password",
            "db_password",
            "secret",
            "client-secret",
            "clientSecret",
            "token",
            "accessToken",
            "AUTH_TOKEN",
            "private_key",
            "privateKey",
            "api_key",
            "X-Api-Key",
            "apikey",
            "Authorization",
            "proxy-authorization",
            "set-cookie",
            "aws.secret_access_key",
        ] {
            for value in [Node::from("hunter2"), Node::from(12345), Node::from(1.5)] {
                let shown = hidden(Node::map([(key, value)]));
                assert_eq!(shown, Node::map([(key, HIDDEN.into())]), "{key}");
            }
        }
    }

    #[test]
    fn keys_that_only_sound_like_a_secret_are_shown() {
        for key in [
            "token_bucket",
            "max_tokens",
            "password_file",
            "private_key_path",
            "key",
            "keys",
            "route_key",
            "secret_name",
            "tokenizer",
            "monkey",
        ] {
            let tree = Node::map([(key, 5.into())]);
            assert_eq!(hidden(tree.clone()), tree, "{key}");
        }
    }

    #[test]
    fn below_a_secret_every_text_and_number_is_hidden() {
        let shown = hidden(Node::map([(
            "secret",
            Node::map([
                ("inline", "x".into()),
                ("list", Node::list(["y".into(), 3.into()])),
                ("on", true.into()),
                ("none", Node::null()),
            ]),
        )]));
        let expected = Node::map([(
            "secret",
            Node::map([
                ("inline", HIDDEN.into()),
                ("list", Node::list([HIDDEN.into(), HIDDEN.into()])),
                ("on", true.into()),
                ("none", Node::null()),
            ]),
        )]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_plural_hides_texts_and_looks_into_named_things() {
        let shown = hidden(Node::map([
            ("tokens", Node::list(["a".into(), "b".into()])),
            (
                "secrets",
                Node::list([Node::map([
                    ("name", "tls".into()),
                    ("private_key", "x".into()),
                ])]),
            ),
        ]));
        let expected = Node::map([
            ("tokens", Node::list([HIDDEN.into(), HIDDEN.into()])),
            (
                "secrets",
                Node::list([Node::map([
                    ("name", "tls".into()),
                    ("private_key", HIDDEN.into()),
                ])]),
            ),
        ]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn pairs_of_name_and_value_and_arguments_hide_the_value() {
        let shown = hidden(Node::list([
            Node::map([("name", "Authorization".into()), ("value", "x".into())]),
            Node::map([("name", "User".into()), ("value", "admin".into())]),
            Node::list(["./auth".into(), "--token".into(), "t".into(), "-v".into()]),
            Node::list([
                "./auth".into(),
                "--token=t".into(),
                "DB_PASSWORD=p".into(),
                "A=b".into(),
            ]),
        ]));
        let expected = Node::list([
            Node::map([("name", "Authorization".into()), ("value", HIDDEN.into())]),
            Node::map([("name", "User".into()), ("value", "admin".into())]),
            Node::list([
                "./auth".into(),
                "--token".into(),
                HIDDEN.into(),
                "-v".into(),
            ]),
            Node::list([
                "./auth".into(),
                "--token=[hidden]".into(),
                "DB_PASSWORD=[hidden]".into(),
                "A=b".into(),
            ]),
        ]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn texts_that_show_their_secret_lose_it() {
        for (text, shown) in [
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\n",
                HIDDEN,
            ),
            ("Bearer abc", "Bearer [hidden]"),
            ("basic dTpw", "basic [hidden]"),
            (
                "redis://me:pa@ss@host:1/0?a=b@c",
                "redis://me:[hidden]@host:1/0?a=b@c",
            ),
            ("http://host/a:b@c", "http://host/a:b@c"),
            ("http://me@host/", "http://me@host/"),
            ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"),
            ("b\u{e4}sic", "b\u{e4}sic"),
        ] {
            assert_eq!(hidden(text.into()), shown.into());
        }
    }
}
