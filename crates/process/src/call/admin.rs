//! MOSN's admin answers about plugins, to the letter.

use super::registry::{all, registered};

/// A status and a text, for an HTTP server to send as `text/plain; charset=utf-8`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// 200 or 400.
    pub status: u16,
    /// The text, its line feed included.
    pub body: String,
}

pub(crate) const USAGE: &str = "Usage:\n/plugin?status=all\n/plugin?status=pluginname\n/plugin?enable=pluginname\n/plugin?disable=pluginname\n";

/// Answers the query of a request for `/plugin` (what is behind the question mark): `enable`, `disable` or `status`, in this order of
/// precedence; one without a value counts as absent.
///
/// | query | status | text |
/// |---|---|---|
/// | `enable=X`, `disable=X` | 200 | `enable X success` |
/// | `status=X` | 200 | `name:X,enable:true,on:true` |
/// | `status=all` | 200 | a line for each, sorted by name, and an empty one |
/// | any of an unknown X | 400 | `plugin X no register` |
/// | `enable=X`, and it does not start | 400 | why |
/// | anything else | 400 | the usage |
pub async fn answer(query: &str) -> Answer {
    if let Some(name) = value(query, "enable") {
        let Some(client) = registered(&name) else {
            return unknown(&name);
        };
        return match client.enable().await {
            Ok(()) => good(format!("enable {name} success\n")),
            Err(error) => bad(format!("{error}\n")),
        };
    }
    if let Some(name) = value(query, "disable") {
        let Some(client) = registered(&name) else {
            return unknown(&name);
        };
        client.disable().await;
        return good(format!("disable {name} success\n"));
    }
    match value(query, "status") {
        Some(name) if name == "all" => {
            let mut body = String::new();
            for client in all() {
                body += &format!("{}\n", client.status());
            }
            good(body + "\n")
        }
        Some(name) => match registered(&name) {
            Some(client) => good(format!("{}\n", client.status())),
            None => unknown(&name),
        },
        None => bad(USAGE.to_owned()),
    }
}

pub(crate) fn good(body: String) -> Answer {
    Answer { status: 200, body }
}

pub(crate) fn bad(body: String) -> Answer {
    Answer { status: 400, body }
}

pub(crate) fn unknown(name: &str) -> Answer {
    bad(format!("plugin {name} no register\n"))
}

/// The first value of `key`, decoded; `None` if it is absent or empty.
pub(crate) fn value(query: &str, key: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| decoded(value))
        .filter(|value| !value.is_empty())
}

/// `application/x-www-form-urlencoded`, leniently: what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match (first, escaped) {
            (_, Some((high, low))) => {
                bytes.push(high << 4 | low);
                rest = rest.get(2..).unwrap_or_default();
            }
            (b'+', None) => bytes.push(b' '),
            (other, None) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_decoded() {
        assert_eq!(value("status=a%2Fb+c", "status").as_deref(), Some("a/b c"));
        assert_eq!(value("x=1&status=p", "status").as_deref(), Some("p"));
        assert_eq!(value("status=", "status"), None);
        assert_eq!(value("status", "status"), None);
        assert_eq!(value("status=%zz%4", "status").as_deref(), Some("%zz%4"));
    }

    #[tokio::test]
    async fn what_is_not_registered_is_told_as_mosn_does() {
        for query in ["enable=none", "disable=none", "status=none"] {
            let answer = answer(query).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (400, "plugin none no register\n"),
                "{query}"
            );
        }
        for query in ["", "status=", "other=1"] {
            let answer = answer(query).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (400, USAGE),
                "{query}"
            );
        }
    }
}
