//! What the route makes of a request: a host, an answer of the route's own, and the last changes to what is sent.

use std::rc::Rc;

use transom_api::{HeaderMap, LocalReply};

use super::{Core, RouteState, Stream};
use crate::error::Fault;
use crate::http::head::Pseudo;
use crate::router::action::{self, Action};
use crate::router::edits;
use crate::router::matcher::Request;
use crate::router::path::{Normalised, normalise};

/// Where a rewrite leaves the path that the client asked for.
const ORIGINAL_PATH: &[u8] = b"x-original-path";

/// Why a request goes to no host.
#[derive(Debug)]
pub(super) enum NotForwarded {
    Fault(Fault),
    /// The route answers itself.
    Answer(Box<LocalReply>),
}

impl From<Fault> for NotForwarded {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Stream {
    pub(super) fn not_forwarded(&mut self, why: NotForwarded) {
        match why {
            NotForwarded::Fault(fault) => self.fault(&fault),
            NotForwarded::Answer(reply) => self.answer(*reply, None),
        }
    }
}

impl Core {
    /// Brings the path into the form that filters and routes see.
    pub(super) fn normalise_path(&mut self) -> Option<Fault> {
        let head = &mut self.request.head;
        // CONNECT has none.
        let path = head.pseudo(Pseudo::Path)?;
        match normalise(path, self.listener.paths) {
            Normalised::Same => None,
            Normalised::Spelling(path) => {
                head.respell_path(&path);
                None
            }
            Normalised::Path(path) => {
                head.set_pseudo(Pseudo::Path, &path);
                None
            }
            Normalised::Refused => Some(Fault::BadRequest {
                status: 400,
                detail: "path_normalization_failed",
            }),
        }
    }

    /// Chooses a host of the route's cluster. Of several clusters the one that was chosen first stays.
    pub(super) fn choose_host(&mut self) -> Result<(), NotForwarded> {
        let index = self.resolve_route().ok_or(Fault::NoRoute)?;
        let (virtual_host, route) = self.table.route(index).ok_or(Fault::NoRoute)?;
        let mut reply = match &route.action {
            Action::Forward(forward) => {
                let id = match self.cluster {
                    Some(id) => id,
                    None => forward
                        .pick(|| self.table.random())
                        .ok_or(Fault::NoCluster)?,
                };
                self.cluster = Some(id);
                let cluster = self.worker.cluster(id).ok_or(Fault::NoCluster)?;
                self.info.cluster = Some(Rc::clone(&cluster.name));
                let host = match &self.host_override {
                    None => cluster.pick_for(&self.connection, &[]),
                    Some(asked) => cluster.pick_asked(asked),
                };
                let host = host.ok_or(Fault::NoHealthyHost)?;
                self.host = Some(host);
                return Ok(());
            }
            Action::Redirect(redirect) => {
                action::redirect(redirect, &route.matcher, &self.request.head)
            }
            Action::DirectResponse(direct) => action::direct_response(direct),
        };
        edits::apply_to_reply(&virtual_host.response_headers, &mut reply);
        edits::apply_to_reply(&route.response_headers, &mut reply);
        Err(NotForwarded::Answer(Box::new(reply)))
    }

    /// Makes the route's changes to a request that has passed all filters.
    pub(super) fn finish_request(&mut self) -> Result<(), Fault> {
        let RouteState::Resolved(Some(index)) = self.route else {
            return Ok(());
        };
        let Some((virtual_host, route)) = self.table.route(index) else {
            return Ok(());
        };
        let head = &mut self.request.head;
        let map = HeaderMap::RequestHeaders;
        let unfit = |_| Fault::UnfitRequest;
        if let Action::Forward(forward) = &route.action {
            // Made of the path that was routed; what is told of the former one is what the client wrote.
            let has_path = head.pseudo(Pseudo::Path).is_some();
            let rewrite = forward.path.as_ref().filter(|_| has_path);
            let rewritten = rewrite.and_then(|rewrite| {
                let request = Request::of(head);
                rewrite.of(&route.matcher, self.table.patterns(), &request)
            });
            head.restore_path();
            if let Some(path) = rewritten {
                let before = head.pseudo(Pseudo::Path).unwrap_or_default().to_vec();
                head.set(map, b":path", &path).map_err(unfit)?;
                head.set(map, ORIGINAL_PATH, &before).map_err(unfit)?;
            }
            if let Some(host) = &forward.host {
                head.set(map, b":authority", host).map_err(unfit)?;
            }
        }
        edits::apply(&virtual_host.request_headers, map, head).map_err(unfit)?;
        edits::apply(&route.request_headers, map, head).map_err(unfit)
    }

    /// Makes the route's changes to a host's response, before filters see it.
    pub(super) fn change_response(&mut self) {
        let RouteState::Resolved(Some(index)) = self.route else {
            return;
        };
        let Some((virtual_host, route)) = self.table.route(index) else {
            return;
        };
        for edits in [&virtual_host.response_headers, &route.response_headers] {
            let head = &mut self.response.head;
            if let Err(error) = edits::apply(edits, HeaderMap::ResponseHeaders, head) {
                tracing::warn!(%error, "a route could not change the headers of a response");
            }
        }
    }
}
