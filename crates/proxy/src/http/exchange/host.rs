//! The host's side of an exchange: who is asked, how it is connected, and what becomes of a request that it does not answer.

use std::rc::Rc;
use std::task::{Context, Poll};

use transom_config::HostAddress;

use super::{Exchange, Host, Progress, Switch};
use crate::cluster::{Active, ConnectError, Identity, Lease, Obtained, WorkerHost, connection};
use crate::error::{Fault, Flags};
use crate::http::attempts::Next;
use crate::http::head::Pseudo;
use crate::http::host_peer::HostPeer;
use crate::http::peer::{Peer, PeerError, Upstream};

impl Exchange {
    /// Whether a host is connected.
    pub(super) fn poll_upstream(&mut self, cx: &mut Context<'_>) -> bool {
        self.retrying = false;
        loop {
            match &mut self.upstream {
                Host::Ready(..) => return true,
                Host::None => {
                    let Some(host) = self.next_host() else {
                        return false;
                    };
                    let core = self.stream.core_mut();
                    core.info.upstream = Some(Rc::clone(&host));
                    core.info.upstream_connection = None;
                    core.info.attempts += 1;
                    // HTTP/1.0 knows requests without Host; what we send is HTTP/1.1 (RFC 9112 section 3.2).
                    if core
                        .request
                        .head
                        .pseudo(Pseudo::Authority)
                        .is_none_or(<[u8]>::is_empty)
                    {
                        let name = match host.host.address {
                            HostAddress::Tcp(_) => host.host.text.as_str(),
                            HostAddress::Unix(_) => "localhost",
                        };
                        core.request
                            .head
                            .set_pseudo(Pseudo::Authority, name.as_bytes());
                    }
                    let Some(active) = Active::request(&host) else {
                        let overflows = host.metrics.overflows.requests;
                        self.worker.shard.add(overflows.0, 1);
                        self.stream.fault(&Fault::Overflow);
                        return false;
                    };
                    self.active = Some(active);
                    // The bytes of a tunnel need a connection on which there was no HTTP.
                    let use_idle = !self.stream.core().terminates_connect();
                    let identity = match self.identity(&host) {
                        Ok(identity) => identity,
                        Err(error) => {
                            self.connect_failed(&host, &error);
                            return false;
                        }
                    };
                    let idle = use_idle.then(|| host.take_idle(self.worker.now(), &identity));
                    self.upstream = match idle.flatten() {
                        Some(client) => {
                            self.stream.core_mut().note_connection(&client);
                            Host::Ready(host, client)
                        }
                        None => {
                            let connecting = connection(&host, &self.worker, identity, use_idle);
                            Host::Connecting(host, connecting)
                        }
                    };
                }
                Host::Connecting(..) => {
                    if !self.poll_connecting(cx) {
                        return false;
                    }
                }
            }
        }
    }

    /// Whether the connection that was begun is there.
    #[inline(never)]
    fn poll_connecting(&mut self, cx: &mut Context<'_>) -> bool {
        let Host::Connecting(host, connecting) = &mut self.upstream else {
            return true;
        };
        match connecting.as_mut().poll(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(obtained)) => {
                let host = Rc::clone(host);
                let lease = match obtained {
                    Obtained::Idle(lease) => lease,
                    Obtained::Fresh(connected, slot) => {
                        let facts = Rc::clone(&connected.facts);
                        let peer = match self.stream.core().terminates_connect() {
                            true => HostPeer::raw(connected, &self.worker),
                            false => HostPeer::new(connected, &self.worker, &host),
                        };
                        Lease::new(peer, slot, facts)
                    }
                };
                self.stream.core_mut().note_connection(&lease);
                self.upstream = Host::Ready(host, lease);
                true
            }
            Poll::Ready(Err(error)) => {
                let host = Rc::clone(host);
                self.connect_failed(&host, &error);
                false
            }
        }
    }

    /// What a connection for this request is made with.
    fn identity(&self, host: &WorkerHost) -> Result<Identity, ConnectError> {
        let core = self.stream.core();
        let authority = core.request.head.pseudo(Pseudo::Authority);
        host.identity(authority, Some(core.connection()))
    }

    #[cold]
    fn connect_failed(&mut self, host: &WorkerHost, error: &ConnectError) {
        let fault = match error {
            ConnectError::Overflow => Fault::Overflow,
            ConnectError::Timeout => Fault::ConnectTimeout,
            ConnectError::Io(_) => Fault::ConnectFailed,
            ConnectError::Tls(error) => Fault::TlsFailed(error.0),
        };
        tracing::debug!(host = host.host.text, %error, "a host could not be connected");
        if let ConnectError::Tls(error) = error {
            self.stream.core_mut().info.upstream_failure = Some(error.0.into());
        }
        self.attempt_failed(false, &fault);
    }

    /// The host of the attempt that begins. `None`: none yet, or there is none and the client is told.
    fn next_host(&mut self) -> Option<Rc<WorkerHost>> {
        if self.attempts.is_paused() {
            return None;
        }
        let core = self.stream.core_mut();
        if !self.attempts.tried().is_empty() && !core.choose_other_host(self.attempts.tried()) {
            self.stream.fault(&Fault::NoHealthyHost);
            return None;
        }
        let host = self.stream.host().map(Rc::clone)?;
        let policy = self.stream.core().retry_policy();
        self.attempts.begin(policy, self.worker.now());
        Some(host)
    }

    /// An attempt ended without an answer: the request is sent again, if the route's policy says so, or the client is told.
    /// `connected`: the host was there.
    #[cold]
    pub(super) fn attempt_failed(&mut self, connected: bool, fault: &Fault) {
        if let (true, Some(host)) = (connected, self.stream.host()) {
            host.note_outcome(false, &self.worker);
        }
        let next = match (fault, self.stream.host()) {
            // More load is no remedy for too much of it.
            (Fault::Overflow, _) | (_, None) => Next::Answer,
            (_, Some(host)) => self.attempts.after_failure(host, connected),
        };
        if !self.send_again(&next) {
            self.upstream = Host::None;
            self.stream.fault(fault);
        }
    }

    /// Sends the request again, if that comes next. Else the client is told why this was the last attempt.
    #[inline]
    fn send_again(&mut self, next: &Next) -> bool {
        *next != Next::Answer && self.send_again_or_tell(next)
    }

    #[cold]
    fn send_again_or_tell(&mut self, next: &Next) -> bool {
        let metrics = self.stream.host().map(|host| host.metrics);
        let flags = &mut self.stream.core_mut().info.flags;
        match next {
            Next::Answer => false,
            Next::Exhausted => {
                flags.add(Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
                false
            }
            Next::NoBudget => {
                flags.add(Flags::UPSTREAM_OVERFLOW);
                if let Some(metrics) = metrics {
                    self.worker.shard.add(metrics.overflows.retries.0, 1);
                }
                false
            }
            Next::Again(pause) => {
                if let Some(metrics) = metrics {
                    self.worker.shard.add(metrics.retries.0, 1);
                }
                self.attempts.pause(self.worker.now(), *pause);
                self.upstream = Host::None;
                self.active = None;
                self.rewind();
                true
            }
        }
    }

    /// Puts the request back to its beginning.
    #[cold]
    fn rewind(&mut self) {
        let out = &mut self.stream.core_mut().request.side.out;
        for piece in self.attempts.take_back() {
            out.unpop(piece);
        }
        self.request_out = Progress::Waiting;
        // The next host has its own word on the body.
        self.invite_at = None;
        self.retrying = true;
    }

    /// The host does not take what it is sent.
    #[cold]
    pub(super) fn send_failed(&mut self, error: &PeerError) {
        // A host that is done with a tunnel need not read to its end: what it sent before still arrives.
        if error.is_gone() && self.switch == Switch::Open {
            self.stream.core_mut().request.side.abort();
            return;
        }
        self.host_failed(error);
    }

    /// The host broke off or answered nonsense.
    #[cold]
    pub(super) fn host_failed(&mut self, error: &PeerError) {
        let answered = matches!(&self.upstream, Host::Ready(_, host) if host.is_answered());
        let host = self
            .stream
            .host()
            .map_or("", |host| host.host.text.as_str());
        tracing::debug!(host, %error, answered, "a host failed");
        // A host may answer before it has read the whole request, and close.
        if matches!(error, PeerError::Io(_))
            && error.is_gone()
            && !answered
            && self.request_out != Progress::Ended
        {
            self.request_out = Progress::Ended;
            return;
        }
        let core = self.stream.core_mut();
        if core.response.side.released {
            self.upstream = Host::None;
            self.response_out = Progress::HeadSent;
            self.host_broke = true;
            core.abandon();
            return;
        }
        let fault = match error {
            PeerError::Unanswered | PeerError::CutOff | PeerError::Io(_) => Fault::UpstreamReset,
            PeerError::Decode(_) | PeerError::TooLarge => Fault::UpstreamProtocol,
            PeerError::Foreign(error) if !error.of_request => Fault::UpstreamProtocol,
            PeerError::Encode(_) | PeerError::Foreign(_) => Fault::FilterFailed {
                name: "request".to_owned(),
                status: 500,
            },
        };
        // What is at fault is not the host, or an answer has begun.
        let of_request = match error {
            PeerError::Encode(_) => true,
            PeerError::Foreign(error) => error.of_request,
            _ => false,
        };
        if of_request || core.response.side.begun {
            self.upstream = Host::None;
            self.stream.fault(&fault);
            return;
        }
        core.response.forget_head();
        self.attempt_failed(true, &fault);
    }

    /// A connection from the pool that ends without one byte of answer was closed by the host while it idled: the request
    /// is sent once more on a fresh one, if that does no harm.
    #[cold]
    pub(super) fn was_stale(&mut self, error: &PeerError) -> bool {
        let Host::Ready(host, client) = &self.upstream else {
            return false;
        };
        if !error.is_gone()
            || client.is_answered()
            || client.requests() < 2
            || !self.attempts.after_stale(client.has_sent())
        {
            return false;
        }
        let host = Rc::clone(host);
        // The name of before, and the files of now.
        let Ok(identity) = self.identity(&host) else {
            return false;
        };
        // Its place is free for the fresh one.
        self.upstream = Host::None;
        self.stream.core_mut().info.attempts += 1;
        let connecting = connection(&host, &self.worker, identity, true);
        self.upstream = Host::Connecting(host, connecting);
        self.rewind();
        true
    }

    /// The host's head is there, and nobody has seen it yet. True when the route's policy sends the request again after
    /// such a status; `end`: the head is all of the answer.
    pub(super) fn is_refused(&mut self, end: bool) -> bool {
        let response = &self.stream.core().response;
        let status = response.head.status();
        let Host::Ready(host, _) = &self.upstream else {
            return false;
        };
        // A tunnel is what was asked for.
        if response.tunnel.is_some() {
            return false;
        }
        host.note_outcome(status < 500, &self.worker);
        let next = self.attempts.after_status(host, status);
        next != Next::Answer && self.refuse(&next, end)
    }

    #[cold]
    fn refuse(&mut self, next: &Next, end: bool) -> bool {
        let before = std::mem::replace(&mut self.upstream, Host::None);
        if !self.send_again(next) {
            self.upstream = before;
            return false;
        }
        self.stream.core_mut().response.forget_head();
        if let (Host::Ready(host, mut lease), true) = (before, end)
            && lease.rest()
        {
            host.give_idle(lease, &self.worker);
        }
        true
    }

    pub(super) fn drop_upstream(&mut self) {
        self.attempts.end();
        self.upstream = Host::None;
    }

    pub(super) fn upstream_unsent(&self) -> usize {
        match &self.upstream {
            Host::Ready(_, host) => host.unsent(),
            _ => 0,
        }
    }
}
