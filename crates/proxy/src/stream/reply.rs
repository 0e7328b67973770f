//! Answers of the proxy's own: from filters and for faults.

use bytes::Bytes;
use transom_api::{Direction, LocalReply};

use super::side::End;
use super::{Core, Message, Stream};
use crate::http::head::{Head, Presence, Pseudo};
use crate::http::tunnel::Tunnel;

impl Stream {
    /// Answers the request here. The answer passes the response callbacks: of the whole chain, or, when it takes the
    /// place of a response that was on its way, of those that the response had not passed yet.
    pub(super) fn answer(&mut self, reply: LocalReply, by: Option<usize>) {
        if self.core.over {
            return;
        }
        // Nothing can be put in the place of a head that has left.
        if self.core.response.side.released {
            self.core.abandon();
            self.core.info.details = reply.details;
            return;
        }
        self.core.request.side.abort();
        let from = if self.core.response.side.begun {
            let at = self.core.response.side.at;
            by.map_or(at, |filter| {
                at.max(self.core.chain.position_of(Direction::Response, filter))
            }) + 1
        } else {
            0
        };
        let mut body = self.core.fill_reply(reply);
        // The answer to HEAD, and a status that has no body, tell of one at the most (RFC 9110 section 6.4.1).
        let head = &self.core.request.head;
        if head.pseudo(Pseudo::Method) == Some(b"HEAD")
            || matches!(self.core.response.head.status(), 204 | 304)
        {
            body.clear();
        }
        let side = &mut self.core.response.side;
        let data_filters = side.data_filters;
        side.clear();
        side.data_filters = data_filters;
        side.begun = true;
        side.at = from.min(self.core.chain.len());
        side.input_ended = true;
        side.head_end = body.is_empty();
        let at = side.at;
        self.run_head(Direction::Response);
        if !body.is_empty() {
            self.core.info.response_bytes = body.len() as u64;
            self.pass_data(Direction::Response, at, body, Some(End::Plain));
        }
    }
}

impl Core {
    /// Makes the response's head out of a reply; gives back its body.
    fn fill_reply(&mut self, reply: LocalReply) -> Bytes {
        let LocalReply {
            status,
            headers,
            body,
            details,
            grpc_status,
        } = reply;
        // The client would take the rest of it for its tunnel.
        let feigned = |tunnel: Tunnel| tunnel.opens_with(status);
        let status = if self.request.tunnel.is_some_and(feigned) {
            500
        } else {
            status
        };
        self.info.details = details;
        let echo = self.listener.local_reply.echo_request_headers;
        let grpc = is_grpc(&self.request.head);
        self.response.tunnel = None;
        let Message { head, trailers, .. } = &mut self.response;
        head.clear();
        trailers.clear();
        head.set_presence(Presence::Here);
        if echo {
            for (name, value) in self.request.head.wire_fields() {
                head.push_own(name, value);
            }
        }
        for (name, value) in &headers {
            // A value that could split the answer is left out; a filter's other fields still go.
            if let Err(error) = head.add(
                transom_api::HeaderMap::ResponseHeaders,
                name.as_bytes(),
                value,
            ) {
                tracing::warn!(header = &**name, %error, "a local reply's header was left out");
            }
        }
        if grpc {
            // A gRPC client reads the outcome from trailers; a head that is the whole response is "trailers only".
            head.set_pseudo(Pseudo::Status, b"200");
            let status = grpc_status.unwrap_or_else(|| grpc_status_of(status));
            head.push_own(b"content-type", b"application/grpc");
            head.push_own(b"grpc-status", status.to_string().as_bytes());
            if !body.is_empty() {
                head.push_own(b"grpc-message", &percent_encode(&body));
            }
            self.response.content_length = None;
            return Bytes::new();
        }
        let status = if (200..=599).contains(&status) {
            status
        } else {
            500
        };
        head.set_pseudo(Pseudo::Status, status.to_string().as_bytes());
        if !body.is_empty() && head.get(b"content-type", 0).is_none() {
            head.push_own(b"content-type", b"text/plain");
        }
        self.response.content_length = Some(body.len() as u64);
        Bytes::from(body)
    }
}

fn is_grpc(request: &Head) -> bool {
    request
        .get(b"content-type", 0)
        .is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// The mapping of gRPC's own documentation (http-grpc-status-mapping).
fn grpc_status_of(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The encoding of `grpc-message`: printable ASCII but `%` stands for itself.
fn percent_encode(text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text.trim_ascii() {
        if (b' '..=b'~').contains(byte) && *byte != b'%' {
            encoded.push(*byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_messages_are_percent_encoded() {
        assert_eq!(percent_encode(b"a 100%\n"), b"a 100%25");
        assert_eq!(percent_encode("ä".as_bytes()), b"%C3%A4");
    }
}
