//! The client protocol of NATS, without I/O: lines of text, and payloads whose length they say.
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use serde_json::{Value, json};
use transom_api::BrokerMessage;

/// A line is not longer; `INFO` of a large cluster is what needs most.
const LONGEST_LINE: usize = 64 << 10;
/// A message that comes is not larger, whatever the server lets others send.
const LARGEST_PAYLOAD: usize = 64 << 20;

/// What a server sends.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Info(Value),
    Ping,
    Pong,
    Ok,
    Error(String),
    /// A message of the subscription with this number.
    Message(u64, BrokerMessage),
}

/// Reads one of what has come. How many bytes it takes; `None`: more must come. An error is the end of the connection.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(usize, Said)>, String> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() {
            len if len > LONGEST_LINE => Err("a line of the server does not end".to_owned()),
            _ => Ok(None),
        };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|_| "the server sends no text".to_owned())?;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let after = end + 1;
    let said = match word.to_ascii_uppercase().as_str() {
        "INFO" => Said::Info(
            serde_json::from_str(rest).map_err(|_| "the server's INFO is no JSON".to_owned())?,
        ),
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "+OK" => Said::Ok,
        "-ERR" => Said::Error(rest.trim().trim_matches('\'').to_owned()),
        "MSG" => return message(bytes, after, rest, false),
        "HMSG" => return message(bytes, after, rest, true),
        _ => return Err(format!("the server says {word:?}, which is not NATS")),
    };
    Ok(Some((after, said)))
}

/// `MSG subject sid [reply] size`, `HMSG subject sid [reply] head-size size`.
fn message(
    bytes: &[u8],
    after: usize,
    line: &str,
    has_head: bool,
) -> Result<Option<(usize, Said)>, String> {
    let bad = || format!("the server announces no message by {line:?}");
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let numbers = 1 + usize::from(has_head);
    if words.len() < 2 + numbers || words.len() > 3 + numbers {
        return Err(bad());
    }
    let number = |at: usize| words.get(at)?.parse::<usize>().ok();
    let topic = words.first().ok_or_else(bad)?;
    let sid = number(1).ok_or_else(bad)? as u64;
    let size = number(words.len() - 1).ok_or_else(bad)?;
    let head = match has_head {
        true => number(words.len() - 2)
            .filter(|it| *it <= size)
            .ok_or_else(bad)?,
        false => 0,
    };
    if size > LARGEST_PAYLOAD {
        return Err(format!("a message of {size} bytes is too large"));
    }
    let Some(payload) = bytes.get(after..after + size + 2) else {
        return Ok(None);
    };
    let (payload, end) = payload.split_at(size);
    if end != b"\r\n" {
        return Err("a message is longer than it says".to_owned());
    }
    let (head, body) = payload.split_at(head);
    let message = BrokerMessage {
        topic: (*topic).to_owned(),
        headers: headers(head),
        body: body.to_vec(),
    };
    Ok(Some((after + size + 2, Said::Message(sid, message))))
}

/// `NATS/1.0`, then fields as in HTTP/1.
fn headers(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let lines = text.split("\r\n").skip(1);
    let fields = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    fields.collect()
}

/// The first thing that a client says.
pub(crate) fn connect(user: &User, out: &mut Vec<u8>) {
    let mut options = json!({
        "verbose": false,
        "pedantic": false,
        "lang": "rust",
        "name": "transom",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "headers": true,
        "no_responders": false,
    });
    if let Some(options) = options.as_object_mut() {
        match user {
            User::Nobody => {}
            User::Password(name, password) => {
                options.insert("user".to_owned(), json!(name));
                options.insert("pass".to_owned(), json!(password));
            }
            User::Token(token) => {
                options.insert("auth_token".to_owned(), json!(token));
            }
        }
    }
    out.extend_from_slice(format!("CONNECT {options}\r\n").as_bytes());
}

/// Who a client is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum User {
    Nobody,
    Password(String, String),
    Token(String),
}

/// Publishes a message. `has_headers`: the server takes such.
pub(crate) fn publish(message: &BrokerMessage, has_headers: bool, out: &mut Vec<u8>) {
    let (topic, body) = (&message.topic, &message.body);
    if message.headers.is_empty() || !has_headers {
        out.extend_from_slice(format!("PUB {topic} {}\r\n", body.len()).as_bytes());
    } else {
        let mut head = String::from("NATS/1.0\r\n");
        for (name, value) in &message.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let sizes = (head.len(), head.len() + body.len());
        out.extend_from_slice(format!("HPUB {topic} {} {}\r\n", sizes.0, sizes.1).as_bytes());
        out.extend_from_slice(head.as_bytes());
    }
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// Whether a message can be said: its topic is a subject without wildcards, its headers have no line ends.
pub(crate) fn check(message: &BrokerMessage) -> Result<(), String> {
    if !is_subject(&message.topic, false) {
        return Err(format!("{:?} is no subject", message.topic));
    }
    let is_plain = |text: &str| !text.contains(['\r', '\n']);
    let good = |(name, value): &(String, String)| {
        !name.is_empty() && !name.contains(':') && is_plain(name) && is_plain(value)
    };
    match message.headers.iter().all(good) {
        true => Ok(()),
        false => Err("a header has a line end, or no name".to_owned()),
    }
}

/// Words between dots, none empty, without blanks; `*` and a last `>` are patterns.
pub(crate) fn is_subject(text: &str, may_be_pattern: bool) -> bool {
    let bad = |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control();
    if text.is_empty() || text.len() > 1024 || text.bytes().any(bad) {
        return false;
    }
    text.split('.').all(|word| match word {
        "" => false,
        "*" | ">" => may_be_pattern,
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, headers: &[(&str, &str)], body: &str) -> BrokerMessage {
        let text = |text: &str| text.to_owned();
        BrokerMessage {
            topic: text(topic),
            headers: headers
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            body: body.into(),
        }
    }

    #[test]
    fn what_a_server_says_is_read_at_any_cut() {
        let text = b"INFO {\"headers\":true}\r\nPING\r\n+OK\r\n-ERR 'no'\r\nMSG a.b 7 5\r\nhello\r\nHMSG a 8 r 20 22\r\nNATS/1.0\r\nA: b c\r\n\r\nhi\r\nPONG\r\n";
        let wanted = [
            Said::Info(json!({"headers": true})),
            Said::Ping,
            Said::Ok,
            Said::Error("no".to_owned()),
            Said::Message(7, message("a.b", &[], "hello")),
            Said::Message(8, message("a", &[("A", "b c")], "hi")),
            Said::Pong,
        ];
        for cut in 0..text.len() {
            let (mut known, mut said) = (Vec::new(), Vec::new());
            for piece in [&text[..cut], &text[cut..]] {
                known.extend_from_slice(piece);
                while let Some((used, one)) = read(&known).unwrap() {
                    known.drain(..used);
                    said.push(one);
                }
            }
            assert_eq!(said, wanted, "{cut}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "HELLO\r\n",
            "INFO {\r\n",
            "MSG a\r\n",
            "MSG a x 1\r\n",
            "MSG a 1 99999999999\r\n",
            "MSG a 1 1\r\nabc\r\n",
            "HMSG a 1 5 4\r\nabcd\r\n",
            "\u{e9}\r\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(&vec![b'a'; LONGEST_LINE + 1]).is_err());
    }

    #[test]
    fn messages_are_written_with_and_without_headers() {
        let mut out = Vec::new();
        let plain = message("a", &[], "hello");
        let full = message("a", &[("X", "y")], "hello");
        publish(&plain, true, &mut out);
        publish(&full, true, &mut out);
        publish(&full, false, &mut out);
        let wanted = "PUB a 5\r\nhello\r\nHPUB a 18 23\r\nNATS/1.0\r\nX: y\r\n\r\nhello\r\nPUB a 5\r\nhello\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
        assert!(check(&full).is_ok());
        for bad in [
            message("a b", &[], ""),
            message("a..b", &[], ""),
            message("a.*", &[], ""),
            message("", &[], ""),
            message("a", &[("X", "y\r\nPUB b 1")], ""),
            message("a", &[("X:", "y")], ""),
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
        assert!(is_subject("a.*.>", true));
    }
}
