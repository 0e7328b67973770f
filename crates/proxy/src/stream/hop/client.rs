//! Who the client is, by those whose word counts, and what the upstream is told of it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use transom_config::{Forwarded, ForwardedMode, IpNetwork, Trust};

use crate::http::head::{Head, Pseudo};
use crate::stream::info::ConnectionInfo;

const FOR: &[u8] = b"x-forwarded-for";
const PROTO: &[u8] = b"x-forwarded-proto";
const HOST: &[u8] = b"x-forwarded-host";
const PORT: &[u8] = b"x-forwarded-port";
const CERTIFICATE: &[u8] = b"x-forwarded-client-cert";

/// Who sent a request, as far as its word goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Teller {
    /// It is a proxy whose word counts.
    pub(super) trusted: bool,
    /// The client that it tells of; `None` when it tells of none that could be believed.
    pub(super) client: Option<SocketAddr>,
}

impl Teller {
    /// `peer`: who connected; `None` for a Unix socket.
    pub(super) fn judge(trust: &Trust, peer: Option<IpAddr>, head: &Head) -> Self {
        match trust {
            Trust::Nobody => Self::STRANGER,
            Trust::Hops(hops) => {
                let before = usize::try_from(*hops).unwrap_or(usize::MAX).max(1) - 1;
                let told = addresses(head).nth(before);
                Self {
                    trusted: true,
                    client: told.and_then(address),
                }
            }
            Trust::Networks(networks) => {
                let is_trusted = |address: IpAddr| is_in(networks, address);
                if !peer.is_some_and(is_trusted) {
                    return Self::STRANGER;
                }
                let mut client = None;
                for told in addresses(head) {
                    // What is no address says nothing of who came before.
                    let Some(address) = address(told) else {
                        break;
                    };
                    client = Some(address);
                    if !is_trusted(address.ip()) {
                        break;
                    }
                }
                Self {
                    trusted: true,
                    client,
                }
            }
        }
    }

    const STRANGER: Self = Self {
        trusted: false,
        client: None,
    };
}

/// Takes away what a stranger says of a client, and takes the scheme from who is trusted.
pub(super) fn sanitise(mode: ForwardedMode, trusted: bool, head: &mut Head) {
    if trusted {
        let scheme: Option<&[u8]> = match head.get(PROTO, 0) {
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => Some(b"https"),
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => Some(b"http"),
            _ => None,
        };
        if let Some(scheme) = scheme {
            head.set_pseudo(Pseudo::Scheme, scheme);
        }
        return;
    }
    match mode {
        ForwardedMode::Keep => {}
        ForwardedMode::Sanitise | ForwardedMode::Set => head.retain_fields(|name| !tells(name)),
        // It stays to be looked at; who reads it from its end is not misled.
        ForwardedMode::Append => {
            head.retain_fields(|name| !tells(name) || name.eq_ignore_ascii_case(FOR));
        }
    }
}

/// Tells the upstream who connected here.
pub(super) fn tell(
    forwarded: &Forwarded,
    trusted: bool,
    connection: &ConnectionInfo,
    head: &mut Head,
) {
    match forwarded.mode {
        ForwardedMode::Append | ForwardedMode::Set => {}
        ForwardedMode::Sanitise | ForwardedMode::Keep => return,
    }
    if let Some(source) = connection.source {
        // The longest address of IPv6 has 45 characters.
        let mut text = [0; 48];
        let mut rest = &mut text[..];
        // It fits.
        let _ = write!(rest, "{}", source.ip().to_canonical());
        let left = rest.len();
        let len = text.len() - left;
        head.append_own(FOR, text.get(..len).unwrap_or_default());
    }
    let tell = |name: &[u8], value: &[u8], head: &mut Head| {
        if !trusted || head.get(name, 0).is_none() {
            head.put_own(name, value);
        }
    };
    tell(PROTO, connection.scheme().as_bytes(), head);
    if forwarded.host
        && let Some(authority) = head.pseudo(Pseudo::Authority)
    {
        let authority = authority.to_vec();
        tell(HOST, &authority, head);
    }
    if forwarded.port
        && let Some(destination) = connection.destination
    {
        tell(PORT, destination.port().to_string().as_bytes(), head);
    }
}

/// Whether a field says something of a client: `x-forwarded-*`, `forwarded` (RFC 7239), `x-real-ip`.
pub(crate) fn tells_or_certifies(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    let begins = |prefix: &[u8]| {
        name.get(..prefix.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
    };
    match name.first() {
        Some(b'x' | b'X') => begins(PREFIX) || name.eq_ignore_ascii_case(b"x-real-ip"),
        Some(b'f' | b'F') => name.eq_ignore_ascii_case(b"forwarded"),
        _ => false,
    }
}

/// The same without the client's certificate, which has an option of its own.
fn tells(name: &[u8]) -> bool {
    tells_or_certifies(name) && !name.eq_ignore_ascii_case(CERTIFICATE)
}

/// What stands in `x-forwarded-for`, from the last, who is the nearest.
fn addresses(head: &Head) -> impl Iterator<Item = &[u8]> {
    head.values(FOR)
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// An address, which some proxies write with a port.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address.to_canonical(), 0)),
        Err(_) => text.parse().ok(),
    }
}

fn is_in(networks: &[IpNetwork], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Presence;

    fn head(fields: &[(&str, &str)]) -> Head {
        let mut head = Head::default();
        head.set_presence(Presence::Here);
        head.set_pseudo(Pseudo::Scheme, b"http");
        head.set_pseudo(Pseudo::Authority, b"a.test");
        for (name, value) in fields {
            head.push_own(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn shown(head: &Head) -> Vec<String> {
        head.wire_fields()
            .map(|(name, value)| {
                format!(
                    "{}={}",
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(value)
                )
            })
            .collect()
    }

    #[test]
    fn the_client_is_whom_the_trusted_name() {
        let networks = |texts: &[&str]| {
            Trust::Networks(texts.iter().map(|text| text.parse().unwrap()).collect())
        };
        let all = || networks(&["10.0.0.0/8", "2001:db8::/32"]);
        for (trust, peer, told, client) in [
            (Trust::Nobody, "10.0.0.1", &["1.1.1.1"][..], None),
            (
                Trust::Hops(1),
                "9.9.9.9",
                &["1.1.1.1, 2.2.2.2"],
                Some("2.2.2.2:0"),
            ),
            (
                Trust::Hops(2),
                "9.9.9.9",
                &["1.1.1.1, 2.2.2.2"],
                Some("1.1.1.1:0"),
            ),
            (
                Trust::Hops(2),
                "9.9.9.9",
                &["1.1.1.1", "2.2.2.2"],
                Some("1.1.1.1:0"),
            ),
            (Trust::Hops(3), "9.9.9.9", &["1.1.1.1,2.2.2.2"], None),
            (Trust::Hops(1), "9.9.9.9", &[], None),
            (Trust::Hops(1), "9.9.9.9", &["unknown"], None),
            (Trust::Hops(1), "9.9.9.9", &["1.1.1.1,"], None),
            (
                Trust::Hops(1),
                "9.9.9.9",
                &["1.1.1.1:81"],
                Some("1.1.1.1:81"),
            ),
            (Trust::Hops(1), "9.9.9.9", &["::1"], Some("[::1]:0")),
            (Trust::Hops(1), "9.9.9.9", &["[::1]"], Some("[::1]:0")),
            (Trust::Hops(1), "9.9.9.9", &["[::1]:81"], Some("[::1]:81")),
            (
                Trust::Hops(1),
                "9.9.9.9",
                &["::ffff:1.1.1.1"],
                Some("1.1.1.1:0"),
            ),
            (all(), "9.9.9.9", &["1.1.1.1"], None),
            (all(), "10.0.0.1", &["1.1.1.1"], Some("1.1.1.1:0")),
            (all(), "::ffff:10.0.0.1", &["1.1.1.1"], Some("1.1.1.1:0")),
            (
                all(),
                "10.0.0.1",
                &["1.1.1.1, 2.2.2.2, 2001:db8::1, 10.9.9.9"],
                Some("2.2.2.2:0"),
            ),
            (
                all(),
                "10.0.0.1",
                &["1.1.1.1", "10.2.2.2"],
                Some("1.1.1.1:0"),
            ),
            // All of them trusted: the first is the client.
            (
                all(),
                "10.0.0.1",
                &["10.3.3.3, 10.2.2.2"],
                Some("10.3.3.3:0"),
            ),
            // Nobody vouches for what stands before a word that is no address.
            (
                all(),
                "10.0.0.1",
                &["1.1.1.1, secret, 10.2.2.2"],
                Some("10.2.2.2:0"),
            ),
            (all(), "10.0.0.1", &[], None),
        ] {
            let fields: Vec<_> = told.iter().map(|told| ("X-Forwarded-For", *told)).collect();
            let teller = Teller::judge(&trust, Some(peer.parse().unwrap()), &head(&fields));
            let found = teller.client.map(|client| client.to_string());
            assert_eq!(found.as_deref(), client, "{trust:?} {peer} {told:?}");
        }
        // A Unix socket has no address that a network could hold.
        assert_eq!(Teller::judge(&all(), None, &head(&[])), Teller::STRANGER);
        assert!(Teller::judge(&Trust::Hops(1), None, &head(&[])).trusted);
    }

    #[test]
    fn what_strangers_say_goes_and_what_the_trusted_say_stays() {
        let fields = [
            ("a", "1"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/"),
            ("X-Forwarded-Client-Cert", "Hash=1"),
            ("Forwarded", "for=1.1.1.1"),
            ("X-Real-IP", "1.1.1.1"),
            ("x-forward", "2"),
        ];
        let connection = ConnectionInfo {
            source: Some("9.9.9.9:1".parse().unwrap()),
            destination: Some("127.0.0.1:8443".parse().unwrap()),
            ..ConnectionInfo::of_nobody()
        };
        let after = |mode, trusted, host, port| {
            let mut head = head(&fields);
            sanitise(mode, trusted, &mut head);
            tell(
                &Forwarded { mode, host, port },
                trusted,
                &connection,
                &mut head,
            );
            (shown(&head), head.pseudo(Pseudo::Scheme).unwrap().to_vec())
        };
        let bare = ["a=1", "X-Forwarded-Client-Cert=Hash=1", "x-forward=2"];
        let whole: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(after(ForwardedMode::Sanitise, false, false, false).0, bare);
        assert_eq!(
            after(ForwardedMode::Sanitise, true, false, false),
            (whole.clone(), b"https".to_vec())
        );
        assert_eq!(
            after(ForwardedMode::Keep, false, false, false),
            (whole.clone(), b"http".to_vec())
        );
        let (set, scheme) = after(ForwardedMode::Set, false, true, true);
        assert_eq!(set[..3], bare);
        assert_eq!(
            set[3..],
            [
                "x-forwarded-for=9.9.9.9",
                "x-forwarded-proto=http",
                "x-forwarded-host=a.test",
                "x-forwarded-port=8443"
            ]
        );
        assert_eq!(scheme, b"http");
        let (append, _) = after(ForwardedMode::Append, false, false, false);
        assert_eq!(
            append,
            [
                "a=1",
                "X-Forwarded-For=1.1.1.1, 9.9.9.9",
                "X-Forwarded-Client-Cert=Hash=1",
                "x-forward=2",
                "x-forwarded-proto=http"
            ]
        );
        for mode in [ForwardedMode::Append, ForwardedMode::Set] {
            let (told, scheme) = after(mode, true, true, false);
            assert_eq!(told[1], "X-Forwarded-For=1.1.1.1, 9.9.9.9");
            assert_eq!(told[2], "x-forwarded-proto=https");
            assert_eq!(told[8..], ["x-forwarded-host=a.test"]);
            assert_eq!(scheme, b"https");
        }
    }

    #[test]
    fn a_unix_socket_has_no_address_to_tell() {
        let connection = ConnectionInfo::of_nobody();
        let forwarded = Forwarded {
            mode: ForwardedMode::Set,
            host: false,
            port: true,
        };
        let mut head = head(&[]);
        tell(&forwarded, false, &connection, &mut head);
        assert_eq!(shown(&head), ["x-forwarded-proto=http"]);
    }
}
