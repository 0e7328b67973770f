//! What the upstream is told of the client's certificate: the field `x-forwarded-client-cert`, in Envoy's form.

use transom_config::ForwardClientCertificate;

use super::Core;
use crate::tls::PeerCertificate;

const FIELD: &[u8] = b"x-forwarded-client-cert";

impl Core {
    /// Sees to it that the field says what the listener's option wants. Upstreams believe it, so that a client's own must
    /// not pass by default. `told`: the head may have the field.
    pub(super) fn tell_client_certificate(&mut self, told: bool) {
        let head = &mut self.request.head;
        let peer = match self.listener.forward_client_certificate {
            ForwardClientCertificate::Forward => return,
            ForwardClientCertificate::Sanitise => None,
            ForwardClientCertificate::Set => self
                .connection
                .tls
                .as_deref()
                .and_then(|tls| tls.peer.as_ref()),
        };
        if told && head.get(FIELD, 0).is_some() {
            let removed = head.remove(FIELD);
            debug_assert!(removed.is_ok(), "it is no field of the framing's");
        }
        if let Some(peer) = peer {
            head.push_own(FIELD, element(peer).as_bytes());
        }
    }
}

/// The element of one certificate: its hash, and what it says of the client.
fn element(peer: &PeerCertificate) -> String {
    let mut element = format!("Hash={};Subject={}", peer.digest, quoted(&peer.subject));
    for (key, name) in [("URI", &peer.uri_name), ("DNS", &peer.dns_name)] {
        if let Some(name) = name {
            let plain = name.bytes().all(|byte| {
                byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b'"' | b'\\')
            });
            let name = if plain { name.clone() } else { quoted(name) };
            element.push_str(&format!(";{key}={name}"));
        }
    }
    element
}

/// In quotation marks, with nothing in it that could end them or the field.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            // A certificate may have any text in it; a field value may not (RFC 9110 section 5.5).
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says_cannot_look_like_another_element() {
        let peer = PeerCertificate {
            subject: "CN=a\",O=\\b\r\nX: ä".to_owned(),
            dns_name: Some("a.test".to_owned()),
            uri_name: Some("spiffe://a.test/x;By=y,z".to_owned()),
            digest: "00ff".to_owned(),
            der: Box::default(),
        };
        assert_eq!(
            element(&peer),
            r#"Hash=00ff;Subject="CN=a\",O=\\b??X: ?";URI="spiffe://a.test/x;By=y,z";DNS=a.test"#
        );
    }
}
