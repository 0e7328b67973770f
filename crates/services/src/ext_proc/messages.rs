//! What the server is sent.

use std::collections::HashMap;

use bytes::Bytes;
use transom_api::{Direction, Stream};

use super::filter::ExtProc;
use crate::grpc::frame;
use crate::headers::{head_of, to_message, trailers_of};
use crate::proto::ext_proc::processing_request::Request;
use crate::proto::ext_proc::{
    HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, ProtocolConfiguration,
};
use crate::values::{attributes_of, metadata_of};

/// The key under which Envoy's filter sends attributes; servers look there.
const ATTRIBUTES: &str = "envoy.filters.http.ext_proc";

impl ExtProc {
    pub(super) fn headers_message(
        &mut self,
        stream: &Stream<'_>,
        direction: Direction,
        end: bool,
    ) -> Bytes {
        let headers = to_message(stream.headers(head_of(direction)), &self.settings().shown);
        let headers = HttpHeaders {
            headers: Some(headers),
            end_of_stream: end,
        };
        let request = match direction {
            Direction::Request => Request::RequestHeaders(headers),
            Direction::Response => Request::ResponseHeaders(headers),
        };
        self.message(stream, direction, request)
    }

    pub(super) fn body_message(
        &mut self,
        stream: &Stream<'_>,
        direction: Direction,
        body: Bytes,
        end: bool,
    ) -> Bytes {
        let body = HttpBody {
            body,
            end_of_stream: end,
            ..HttpBody::default()
        };
        let request = match direction {
            Direction::Request => Request::RequestBody(body),
            Direction::Response => Request::ResponseBody(body),
        };
        self.message(stream, direction, request)
    }

    pub(super) fn trailers_message(&mut self, stream: &Stream<'_>, direction: Direction) -> Bytes {
        let trailers = to_message(
            stream.headers(trailers_of(direction)),
            &self.settings().shown,
        );
        let trailers = HttpTrailers {
            trailers: Some(trailers),
        };
        let request = match direction {
            Direction::Request => Request::RequestTrailers(trailers),
            Direction::Response => Request::ResponseTrailers(trailers),
        };
        self.message(stream, direction, request)
    }

    fn message(&mut self, stream: &Stream<'_>, direction: Direction, request: Request) -> Bytes {
        let first_of_side = !std::mem::replace(&mut self.side(direction).attributes_sent, true);
        let first_of_call = !std::mem::replace(&mut self.configuration_sent, true);
        let mut message = ProcessingRequest {
            request: Some(request),
            observability_mode: self.settings().observability_mode,
            ..ProcessingRequest::default()
        };
        let namespaces = &self.metadata_options().forwarding;
        if !namespaces.is_empty() {
            message.metadata_context = metadata_of(stream, namespaces);
        }
        let names = self.attribute_names(direction);
        if first_of_side && !names.is_empty() {
            let attributes = attributes_of(stream, names);
            message.attributes = HashMap::from([(ATTRIBUTES.to_owned(), attributes)]);
        }
        if first_of_call {
            let mode = self.mode();
            message.protocol_config = Some(ProtocolConfiguration {
                request_body_mode: mode.request.body.to_wire(),
                response_body_mode: mode.response.body.to_wire(),
                send_body_without_waiting_for_header_response: self.settings().eager_bodies,
            });
        }
        frame(&message)
    }
}
