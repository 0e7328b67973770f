//! What this proxy believes and tells as one hop of many: who the client is, which request this is, to which trace it
//! belongs, and that it passed here.
//!
//! - [`client`]: whose word on the client counts, and what the upstream is told;
//! - [`request_id`]: `x-request-id`; [`trace`]: the trace context.

mod client;
pub(crate) mod measure;
mod request_id;
mod trace;

use std::net::SocketAddr;

use transom_api::HeaderMap;
use transom_config::{ForwardedMode, HopOptions, Server};

use self::client::Teller;
pub(crate) use self::client::tells_or_certifies as tells_of_client;
use super::Core;
use super::info::ConnectionInfo;
use crate::gate::is_chosen;
use crate::http::head::Head;
use crate::worker::entropy::Entropy;

const REQUEST_ID: &[u8] = b"x-request-id";
const VIA: &[u8] = b"via";
const SERVER: &[u8] = b"server";

/// The options of an `http` filter, made ready.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Hop {
    options: HopOptions,
    /// Whether a request that tells of nobody is changed at all.
    adds: bool,
    /// Whether responses are changed.
    answers: bool,
}

impl Hop {
    pub(crate) fn new(options: &HopOptions) -> Self {
        let tells = matches!(
            options.forwarded.mode,
            ForwardedMode::Append | ForwardedMode::Set
        );
        Self {
            adds: tells
                || options.request_id.is_some()
                || options.trace.is_some()
                || options.via.is_some(),
            answers: options.via.is_some()
                || options.server.is_some()
                || options.request_id.is_some_and(|id| id.in_response),
            options: options.clone(),
        }
    }
}

/// Where a request comes from, and what ids are made of.
struct Arrival<'a> {
    connection: &'a ConnectionInfo,
    protocol: &'a str,
    entropy: &'a Entropy,
    random: &'a dyn Fn() -> u64,
}

/// What is known of a request once its head was looked at.
#[derive(Debug, Default)]
struct Believed {
    /// The client that a trusted proxy tells of.
    client: Option<SocketAddr>,
    /// The caller's span, where this proxy is one below it; 0 for none.
    parent_span: u64,
}

impl Hop {
    /// `told`: the head says something of a client.
    fn believe(&self, told: bool, arrival: &Arrival<'_>, head: &mut Head) -> Believed {
        let hop = &self.options;
        let mut believed = Believed::default();
        let source = arrival.connection.source.map(|source| source.ip());
        let teller = Teller::judge(&hop.trust, source, head);
        if told {
            believed.client = teller.client;
            client::sanitise(hop.forwarded.mode, teller.trusted, head);
        }
        client::tell(&hop.forwarded, teller.trusted, arrival.connection, head);
        if let Some(options) = &hop.request_id {
            request_id::apply(options, teller.trusted, head, arrival.entropy);
        }
        if let Some(options) = &hop.trace {
            let sampled = || is_chosen(options.sample, (arrival.random)());
            believed.parent_span =
                trace::apply(options, teller.trusted, sampled, head, arrival.entropy);
        }
        if let Some(name) = &hop.via {
            let version = arrival.protocol.strip_prefix("HTTP/").unwrap_or("1.1");
            head.append_own(VIA, format!("{version} {name}").as_bytes());
        }
        believed
    }
}

impl Core {
    /// Does what is to be done with the head of a request before anybody looks at it.
    #[inline]
    pub(super) fn receive(&mut self) {
        // One look at the names spares the rest, for most.
        let told = self.request.head.tells_of_client();
        self.tell_client_certificate(told);
        if told || self.listener.hop.adds {
            self.believe(told);
        }
    }

    fn believe(&mut self, told: bool) {
        let worker = &self.worker;
        let arrival = Arrival {
            connection: &self.connection,
            protocol: self.info.protocol,
            entropy: &worker.entropy,
            random: &|| worker.random(),
        };
        let head = &mut self.request.head;
        let believed = self.listener.hop.believe(told, &arrival, head);
        self.info.remote = believed.client;
        self.info.parent_span = believed.parent_span;
    }

    /// Does what is to be done with the head of a response before it is sent, whoever made it.
    #[inline]
    pub(super) fn mark_response(&mut self) {
        if self.listener.hop.answers {
            self.mark();
        }
    }

    fn mark(&mut self) {
        let hop = &self.listener.hop.options;
        let head = &mut self.response.head;
        if hop.request_id.is_some_and(|id| id.in_response)
            && let Some(id) = self.request.head.get(REQUEST_ID, 0)
        {
            // A filter may have set it, but no filter can set what is no value.
            let set = head.set(HeaderMap::ResponseHeaders, REQUEST_ID, id);
            debug_assert!(set.is_ok(), "{set:?}");
        }
        if let Some(name) = &hop.via {
            head.append_own(VIA, format!("1.1 {name}").as_bytes());
        }
        if let Some(Server { name, overwrite }) = &hop.server
            && (*overwrite || head.get(SERVER, 0).is_none())
        {
            head.put_own(SERVER, name.as_bytes());
        }
    }
}
