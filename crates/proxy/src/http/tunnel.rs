//! Tunnels: what a connection becomes by CONNECT or Upgrade.
//!
//! A request for a tunnel goes to the host as a head with nothing behind it. What the client sends meanwhile stays where
//! it is: were it sent on before the host's word, a host that declines would take it for requests that nobody has
//! looked at. With a 101, or a 2xx to CONNECT, once that has passed the filters and left for the client, both directions
//! become bodies without an end, each of which ends by the FIN of its sender. Any other answer is a plain response, the
//! request turns out to have had no body, and what follows it on the client's connection is another request.

/// How a request asks for a tunnel, or a response opens one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tunnel {
    /// CONNECT, and its 2xx (RFC 9110 section 9.3.6).
    Connect,
    /// Upgrade, and its 101 (RFC 9110 section 7.8).
    Upgrade,
}

impl Tunnel {
    /// Whether an answer of this status opens it.
    pub(crate) fn opens_with(self, status: u16) -> bool {
        match self {
            Self::Connect => (200..300).contains(&status),
            Self::Upgrade => status == 101,
        }
    }
}

/// What of a client's Upgrade may be asked of a host: the protocols that are allowed, in the client's order and spelling.
pub(crate) fn allowed(upgrade: &[u8], allowed: &[Box<[u8]>]) -> Option<Vec<u8>> {
    let mut asked = Vec::new();
    for protocol in protocols(upgrade) {
        let name = name_of(protocol);
        if allowed.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            if !asked.is_empty() {
                asked.extend_from_slice(b", ");
            }
            asked.extend_from_slice(protocol);
        }
    }
    (!asked.is_empty()).then_some(asked)
}

/// Whether a host switched to what it was asked for: to at least one protocol, and to none that was not
/// (RFC 9110 section 7.8).
pub(crate) fn is_asked(switched: &[u8], asked: &[u8]) -> bool {
    let mut switched = protocols(switched).peekable();
    switched.peek().is_some()
        && switched.all(|protocol| {
            protocols(asked).any(|known| name_of(known).eq_ignore_ascii_case(name_of(protocol)))
        })
}

fn protocols(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|protocol| !protocol.is_empty())
}

/// A protocol's name without its version.
fn name_of(protocol: &[u8]) -> &[u8] {
    let end = protocol.iter().position(|byte| *byte == b'/');
    protocol
        .get(..end.unwrap_or(protocol.len()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_is_asked() {
        let known: [Box<[u8]>; 2] = [b"websocket"[..].into(), b"foo"[..].into()];
        for (upgrade, asked) in [
            ("websocket", Some("websocket")),
            ("WebSocket", Some("WebSocket")),
            ("h2c", None),
            ("h2c, websocket", Some("websocket")),
            ("foo/2, h2c,,websocket", Some("foo/2, websocket")),
            ("websockets", None),
            (",", None),
        ] {
            let found = allowed(upgrade.as_bytes(), &known);
            assert_eq!(found.as_deref(), asked.map(str::as_bytes), "{upgrade}");
        }
    }

    #[test]
    fn a_host_switches_to_what_it_was_asked_for() {
        for (switched, asked, good) in [
            ("websocket", "websocket", true),
            ("WebSocket", "foo, websocket", true),
            ("foo/2", "foo/1", true),
            ("h2c", "websocket", false),
            ("websocket, h2c", "websocket", false),
            ("", "websocket", false),
        ] {
            assert_eq!(
                is_asked(switched.as_bytes(), asked.as_bytes()),
                good,
                "{switched} for {asked}"
            );
        }
    }
}
