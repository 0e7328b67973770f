//! One request and its response: moves what the two ends send through the stream, and what leaves it to the ends.
//!
//! All of it runs in the task of the client's connection. A turn goes round: news of the mailbox, input of the client,
//! output to the host, input of the host, output to the client, flush; and again only if something came of it that an
//! earlier step waits for.

mod host;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use transom_api::{Direction, ResetReason};

use super::attempts::Attempts;
use super::peer::{Downstream, Peer, PeerError, PeerEvent, Upstream};
use super::{HttpListener, limit};
use crate::cluster::{Active, Connecting, Lease, WorkerHost};
use crate::error::Fault;
use crate::http::head::Pseudo;
use crate::stream::Stream;
use crate::stream::side::End;
use crate::worker::Worker;

/// After this time without a word of the host a client that waits for a 100 is told to go on: a host need not know of
/// expectations, and many clients wait no longer themselves.
const INVITE_AFTER: Duration = Duration::from_secs(1);

/// An exchange under way.
pub(crate) struct Exchange {
    pub(crate) stream: Box<Stream>,
    /// The chain's filters and routes as the request found them. Between requests a connection has no hold on them, so that what a
    /// reload replaces can go.
    pub(crate) http: Rc<HttpListener>,
    worker: Rc<Worker>,
    upstream: Host,
    /// The request, as its host counts it.
    active: Option<Active>,
    request_out: Progress,
    response_out: Progress,
    /// The stream's own end, at the latest.
    deadline: Option<Instant>,
    /// When the client last got on: sent of its body, or took of the answer.
    downstream_at: Instant,
    attempts: Attempts,
    switch: Switch,
    /// The host broke its answer off.
    host_broke: bool,
    /// When a client that waits for a 100 gets one, at the latest: set when its head is with the host.
    invite_at: Option<Instant>,
    /// The switch came in this turn: what the client sent ahead of it has nobody to wake for it.
    switched: bool,
    /// A connection for another attempt was begun and not looked at yet.
    retrying: bool,
    /// This turn left the client's, or the host's, bytes unread because too much waited to be sent on.
    request_held: bool,
    response_held: bool,
}

/// The host, as far as it is connected.
enum Host {
    None,
    Connecting(Rc<WorkerHost>, Connecting),
    Ready(Rc<WorkerHost>, Lease),
}

/// What became of a request for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    /// None was asked for, or it was declined.
    None,
    /// The host has not said yet.
    Asked,
    /// Bytes go both ways.
    Open,
}

/// How far a message got on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    #[default]
    Waiting,
    HeadSent,
    Ended,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer was sent as a whole.
    Complete,
    /// The answer was not (wholly) sent: the connection is of no use any more.
    Broken(ResetReason),
}

impl Exchange {
    /// An exchange for a request whose head was given to the stream.
    pub(crate) fn new(
        stream: Box<Stream>,
        worker: Rc<Worker>,
        http: Rc<HttpListener>,
        now: Instant,
    ) -> Self {
        let options = &http.options;
        let timeout = stream
            .core()
            .route_timeout()
            .map_or_else(|| limit(options.timeouts.stream), limit);
        let switch = match stream.core().request.tunnel {
            Some(_) => Switch::Asked,
            None => Switch::None,
        };
        let attempts = Attempts::new(stream.core().request.head.pseudo(Pseudo::Method));
        Self {
            stream,
            http,
            worker,
            upstream: Host::None,
            active: None,
            request_out: Progress::Waiting,
            response_out: Progress::Waiting,
            deadline: timeout.and_then(|timeout| now.checked_add(timeout)),
            downstream_at: now,
            attempts,
            switch,
            switched: false,
            host_broke: false,
            invite_at: None,
            retrying: false,
            request_held: false,
            response_held: false,
        }
    }

    /// Gets the exchange on as far as it goes.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut impl Downstream,
    ) -> Poll<Outcome> {
        loop {
            self.deliver_mail();
            if let Err(reason) = self.read_request(cx, client) {
                return Poll::Ready(Outcome::Broken(reason));
            }
            self.send_request(cx, client);
            self.read_response(cx, client);
            if self.stream.is_over() {
                return Poll::Ready(self.broken_off(cx, client));
            }
            let sent = match self.send_response(cx, client) {
                Ok(sent) => sent,
                Err(reason) => return Poll::Ready(Outcome::Broken(reason)),
            };
            if self.stream.is_over() {
                return Poll::Ready(self.broken_off(cx, client));
            }
            if sent {
                return Poll::Ready(Outcome::Complete);
            }
            if !self.has_more_to_do(client) {
                // Nothing more is awaited of the client; one that goes away ends the stream, whoever it waits for.
                if self.switch != Switch::Open
                    && client.request_ended()
                    && client.poll_gone(cx).is_ready()
                {
                    return Poll::Ready(Outcome::Broken(ResetReason::Downstream));
                }
                // Last, because a filter may have asked for its address in this very turn.
                if let Some(slot) = self.stream.mailbox() {
                    self.worker.mailboxes.set_waker(slot, cx.waker());
                }
                return Poll::Pending;
            }
        }
    }

    /// When the exchange must be looked at again, whatever happens.
    pub(crate) fn deadline(&self, client: &impl Downstream) -> Option<Instant> {
        let idle = self
            .idle_limit(client)
            .and_then(|limit| self.downstream_at.checked_add(limit));
        [
            self.deadline,
            idle,
            self.attempts.deadline(),
            self.invite_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time is over: for the stream, or for a client that does not get on.
    #[cold]
    pub(crate) fn on_deadline(
        &mut self,
        now: Instant,
        client: &impl Downstream,
    ) -> Result<(), ResetReason> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            if self.stream.core().response.side.released {
                return Err(ResetReason::Timeout);
            }
            self.drop_upstream();
            self.stream.fault(&Fault::Timeout);
            return Ok(());
        }
        if self.invite_at.is_some_and(|at| at <= now) {
            self.invite_at = None;
        }
        let idle = self
            .idle_limit(client)
            .and_then(|limit| self.downstream_at.checked_add(limit));
        if idle.is_some_and(|idle| idle <= now) {
            if client.unsent() > 0 || self.stream.core().response.side.released {
                return Err(ResetReason::Timeout);
            }
            self.drop_upstream();
            self.stream.fault(&Fault::BodyTimeout);
            return Ok(());
        }
        if self.attempts.on_deadline(now) && !self.stream.core().response.side.begun {
            self.attempt_failed(true, &Fault::TryTimeout);
        }
        Ok(())
    }

    /// What the client may take to get on, in the state that the exchange is in.
    fn idle_limit(&self, client: &impl Downstream) -> Option<Duration> {
        if client.unsent() > 0 {
            return limit(self.http.options.timeouts.write_idle);
        }
        let side = &self.stream.core().request.side;
        let awaits_body =
            !side.input_ended && !side.aborted && self.stream.wants_input(Direction::Request);
        if self.switch == Switch::Open {
            limit(self.http.options.timeouts.tunnel_idle)
        } else if awaits_body && !client.request_ended() {
            limit(self.http.options.timeouts.body_idle)
        } else {
            None
        }
    }

    /// Ends the exchange and gives back the stream; the connection to the host goes back to its pool if it is good.
    #[expect(
        clippy::boxed_local,
        reason = "it lies in a box, and is not moved out of it to be taken apart"
    )]
    pub(crate) fn finish(mut self: Box<Self>, outcome: Outcome) -> Box<Stream> {
        if self.switch == Switch::Open {
            self.count_tunnels(-1);
        }
        match outcome {
            Outcome::Complete => {
                if let Host::Ready(host, mut client) =
                    std::mem::replace(&mut self.upstream, Host::None)
                    && client.rest()
                {
                    host.give_idle(client, &self.worker);
                }
                self.stream.finish(None);
            }
            Outcome::Broken(reason) => self.stream.finish(Some(reason)),
        }
        self.stream
    }

    fn count_tunnels(&self, more: i64) {
        self.worker
            .shard
            .add(self.http.options.metrics.tunnels.0, more);
    }

    fn deliver_mail(&mut self) {
        let Some(slot) = self.stream.mailbox() else {
            return;
        };
        self.deliver_mail_of(slot);
    }

    fn deliver_mail_of(&mut self, slot: u32) {
        while let Some((filter, event)) = self.worker.mailboxes.take(slot) {
            self.stream.event(filter as usize, event);
        }
    }

    /// Takes what the client sends.
    fn read_request(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut impl Downstream,
    ) -> Result<(), ResetReason> {
        self.request_held = false;
        self.switched = false;
        while !client.request_ended() {
            if !self.may_read_request() {
                self.request_held = true;
                client.pause();
                return Ok(());
            }
            let open = self.stream.is_open(Direction::Request);
            if self.wants_body() && client.invite_body().is_err() {
                return Err(ResetReason::Downstream);
            }
            let event = match client.poll_event(cx, &mut self.stream.core_mut().request) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(event)) => event,
                Poll::Ready(Err(error)) => return self.client_failed(&error),
            };
            self.downstream_at = self.worker.now();
            match event {
                PeerEvent::Data => {
                    let len = client.data().len();
                    match &mut self.upstream {
                        Host::Ready(_, host) if open && self.request_out == Progress::HeadSent => {
                            let (reused, begun) = (host.requests() > 1, host.has_sent());
                            let sent = if self.attempts.keeps(len, reused, begun) {
                                let piece = client.take_data();
                                self.attempts.keep(piece.clone());
                                host.send_bytes(cx, piece)
                            } else {
                                host.send_from(cx, client)
                            };
                            self.stream.note_data(Direction::Request, len, false);
                            if let Err(error) = sent {
                                self.send_failed(&error);
                            }
                        }
                        _ => {
                            let bytes = client.take_data();
                            self.stream.data(Direction::Request, bytes, false);
                        }
                    }
                }
                PeerEvent::Trailers => self.stream.trailers(Direction::Request),
                PeerEvent::End => self.stream.data(Direction::Request, Bytes::new(), true),
                PeerEvent::Head { .. } | PeerEvent::Interim { .. } => {}
            }
        }
        Ok(())
    }

    /// The client's body broke off or was malformed.
    #[cold]
    fn client_failed(&mut self, error: &PeerError) -> Result<(), ResetReason> {
        let fault = match error {
            PeerError::Decode(error) => Fault::BadRequest {
                status: error.status(),
                detail: "http1_codec_error",
            },
            PeerError::TooLarge => Fault::RequestTooLarge,
            PeerError::Foreign(error) if !error.of_request => Fault::BadRequest {
                status: 400,
                detail: "codec_error",
            },
            PeerError::CutOff
            | PeerError::Unanswered
            | PeerError::Io(_)
            | PeerError::Foreign(_)
            | PeerError::Encode(_) => {
                return Err(ResetReason::Downstream);
            }
        };
        if self.stream.core().response.side.released {
            return Err(ResetReason::Local);
        }
        self.drop_upstream();
        self.stream.fault(&fault);
        Ok(())
    }

    /// Sends what has left the chain to the host, connecting it first.
    fn send_request(&mut self, cx: &mut Context<'_>, client: &impl Downstream) {
        let side = &self.stream.core().request.side;
        if side.aborted {
            // Answered here: whatever the host does is of no interest.
            if !matches!(self.upstream, Host::None)
                && self.request_out != Progress::Ended
                && self.switch != Switch::Open
            {
                self.drop_upstream();
            }
            return;
        }
        if !side.released
            || self.stream.core().response.side.begun && self.request_out == Progress::Ended
        {
            return;
        }
        if !self.poll_upstream(cx) {
            return;
        }
        let Host::Ready(_, host) = &mut self.upstream else {
            return;
        };
        let before = self.request_out;
        if let Err(error) = drain_request(
            cx,
            &mut self.stream,
            &mut **host,
            &mut self.request_out,
            &mut self.attempts,
            self.switch,
        ) {
            return self.send_failed(&error);
        }
        if before != Progress::Ended && self.request_out == Progress::Ended {
            self.stream.core_mut().info.times.request_sent = Some(self.worker.now());
        }
        if before == Progress::Waiting && client.awaits_invitation() {
            self.invite_at = self.worker.now().checked_add(INVITE_AFTER);
        }
        match host.poll_flush(cx) {
            Poll::Ready(Err(error)) => self.send_failed(&error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
    }

    /// Takes what the host answers.
    fn read_response(&mut self, cx: &mut Context<'_>, client: &mut impl Downstream) {
        self.response_held = false;
        loop {
            if self.request_out == Progress::Waiting {
                return;
            }
            if !self.may_read_response(client) {
                self.response_held = true;
                if let Host::Ready(_, host) = &mut self.upstream {
                    host.pause();
                }
                return;
            }
            let open =
                self.stream.is_open(Direction::Response) && self.response_out == Progress::HeadSent;
            let Host::Ready(_, host) = &mut self.upstream else {
                return;
            };
            // An answer of the proxy's own took the place of the host's.
            if self.stream.core().response.side.begun && !host.is_answered() {
                return;
            }
            let event = match host.poll_event(cx, &mut self.stream.core_mut().response) {
                Poll::Pending => return,
                Poll::Ready(Ok(event)) => event,
                Poll::Ready(Err(error)) => {
                    if !self.was_stale(&error) {
                        self.host_failed(&error);
                    }
                    return;
                }
            };
            match event {
                PeerEvent::Head { end } => {
                    if self.is_refused(end) {
                        return;
                    }
                    self.attempts.end();
                    if self.switch == Switch::Asked && self.stream.core().response.tunnel.is_none()
                    {
                        // Declined: the request turns out to be a plain one without a body.
                        self.switch = Switch::None;
                        self.stream.data(Direction::Request, Bytes::new(), true);
                    }
                    self.stream.response_head(end);
                    // The head is sent at once, so that data behind it can go by the chain.
                    if self.start_response(client).is_err() {
                        return;
                    }
                }
                PeerEvent::Interim { status } => {
                    if !self.pass_interim(client, status) {
                        return;
                    }
                }
                PeerEvent::Data => {
                    let len = host.data().len();
                    if open && client.send_from(cx, &mut **host).is_ok() {
                        self.stream.note_data(Direction::Response, len, false);
                        self.downstream_at = self.worker.now();
                    } else {
                        let bytes = host.take_data();
                        self.stream.data(Direction::Response, bytes, false);
                    }
                }
                PeerEvent::Trailers => self.stream.trailers(Direction::Response),
                PeerEvent::End => self.stream.data(Direction::Response, Bytes::new(), true),
            }
        }
    }

    /// Passes an interim answer of the host on. False when the client is gone.
    #[cold]
    fn pass_interim(&mut self, client: &mut impl Downstream, status: u16) -> bool {
        let Host::Ready(_, host) = &self.upstream else {
            return true;
        };
        if status == 100 {
            // The word of whom it concerns (RFC 9110 section 10.1.1), if nobody here has said it before.
            self.invite_at = None;
            return client.invite_body().is_ok();
        }
        if client.send_interim(status, host.interim()).is_err() {
            tracing::debug!(status, "an interim response could not be passed on");
        }
        true
    }

    /// Sends the response's head, once it has left the chain.
    #[inline]
    fn start_response(&mut self, client: &mut impl Downstream) -> Result<(), PeerError> {
        let core = self.stream.core();
        if self.response_out != Progress::Waiting || !core.response.side.released {
            return Ok(());
        }
        let complete = core.response.side.head_end;
        // The rest of a request that nobody reads makes the connection useless.
        let close =
            self.worker.is_draining() || !client.request_ended() && core.request.side.aborted;
        client.send_head(&core.response, complete, close)?;
        self.response_out = Progress::HeadSent;
        if self.switch == Switch::Asked && core.response.tunnel.is_some() {
            self.switch = Switch::Open;
            self.switched = true;
            self.count_tunnels(1);
            // From now on only silence ends it.
            self.deadline = None;
        }
        let now = self.worker.now();
        self.downstream_at = now;
        self.stream.core_mut().info.times.response_sent = Some(now);
        Ok(())
    }

    /// Sends what has left the chain to the client. True when all of the answer is sent.
    fn send_response(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut impl Downstream,
    ) -> Result<bool, ResetReason> {
        if let Err(error) = self.start_response(client) {
            tracing::warn!(%error, "a response could not be sent");
            return Err(ResetReason::Local);
        }
        let watermark = self.options_watermark();
        if self.response_out == Progress::HeadSent {
            let drained = drain(
                cx,
                &mut self.stream,
                Direction::Response,
                client,
                watermark,
                |_, _| {},
            );
            match drained {
                Ok(true) => self.response_out = Progress::Ended,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, "a response could not be sent");
                    return Err(match error {
                        PeerError::Io(_) => ResetReason::Downstream,
                        _ => ResetReason::Local,
                    });
                }
            }
        }
        let before = client.unsent();
        match client.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                if before > 0 {
                    self.downstream_at = self.worker.now();
                }
                Ok(self.is_complete())
            }
            Poll::Ready(Err(_)) => Err(ResetReason::Downstream),
            Poll::Pending => {
                if client.unsent() < before {
                    self.downstream_at = self.worker.now();
                }
                Ok(false)
            }
        }
    }

    /// Whether all of the answer is sent; in a tunnel also all that the client sent.
    fn is_complete(&self) -> bool {
        self.response_out == Progress::Ended
            && (self.switch != Switch::Open
                || self.stream.core().request.side.aborted
                || self.request_out == Progress::Ended && self.upstream_unsent() == 0)
    }

    /// Whether somebody waits for the body, as far as a client is concerned that waits to be told so: a filter, or the
    /// host, which has the head and has said so, or has said nothing for too long.
    fn wants_body(&self) -> bool {
        let side = &self.stream.core().request.side;
        if side.released {
            self.request_out != Progress::Waiting && self.invite_at.is_none()
        } else {
            side.stop.is_some() && !side.stops_all()
        }
    }

    /// Whether there is room for more of the request.
    fn may_read_request(&self) -> bool {
        !self.stream.core().request.side.aborted
            && self.stream.wants_input(Direction::Request)
            && !(self.stream.is_open(Direction::Request)
                && self.upstream_unsent() >= self.options_watermark())
    }

    /// Whether there is room for more of the response.
    #[inline]
    fn may_read_response(&self, client: &impl Downstream) -> bool {
        self.stream.wants_input(Direction::Response)
            && !(self.stream.is_open(Direction::Response)
                && self.response_out == Progress::HeadSent
                && client.unsent() >= self.options_watermark())
    }

    /// Whether a step waits for something that a later step of this turn has brought.
    fn has_more_to_do(&self, client: &impl Downstream) -> bool {
        let core = self.stream.core();
        let watermark = self.options_watermark();
        let request = &core.request.side;
        let response = &core.response.side;
        let mail = self
            .stream
            .mailbox()
            .is_some_and(|slot| self.worker.mailboxes.has_mail(slot));
        let request_waits = request.released
            && !request.aborted
            && self.request_out == Progress::Waiting
            && !self.attempts.is_paused()
            && matches!(self.upstream, Host::None | Host::Ready(..));
        let request_data = self.request_out == Progress::HeadSent
            && self.switch != Switch::Asked
            && (!request.out.is_empty() || request.out_end.is_some())
            && self.upstream_unsent() < watermark
            && matches!(self.upstream, Host::Ready(..));
        let response_waits = response.released && self.response_out == Progress::Waiting;
        let response_data = self.response_out == Progress::HeadSent
            && (!response.out.is_empty() || response.out_end.is_some())
            && client.unsent() < watermark;
        // What was left unread has nobody to wake for it: there is room for it again only by what this turn sent.
        let request_room = self.request_held && self.may_read_request();
        let response_room = self.response_held
            && matches!(self.upstream, Host::Ready(..))
            && self.may_read_response(client);
        mail || self.retrying
            || self.switched
            || request_waits
            || request_data
            || response_waits
            || response_data
            || request_room
            || response_room
    }

    /// The end of an exchange whose answer breaks off: what of it was good and waits for the wire still leaves, as far as
    /// the client takes it at once, so that it sees a beginning without an end and not nothing.
    #[cold]
    fn broken_off(&self, cx: &mut Context<'_>, client: &mut impl Downstream) -> Outcome {
        // The connection ends in any case.
        let _ = client.poll_flush(cx);
        Outcome::Broken(match self.host_broke {
            true => ResetReason::Upstream,
            false => ResetReason::Local,
        })
    }

    fn options_watermark(&self) -> usize {
        self.stream.core().watermark()
    }
}

/// Sends the request's head and what follows it.
fn drain_request(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    host: &mut impl Upstream,
    progress: &mut Progress,
    attempts: &mut Attempts,
    switch: Switch,
) -> Result<(), PeerError> {
    if *progress == Progress::Waiting {
        let core = stream.core();
        host.send_head(&core.request, core.request.side.head_end)?;
        *progress = Progress::HeadSent;
    }
    // Before the host has switched, bytes that a filter made for the tunnel would be read as requests.
    if *progress == Progress::HeadSent && switch != Switch::Asked {
        let watermark = stream.core().watermark();
        if drain(
            cx,
            stream,
            Direction::Request,
            host,
            watermark,
            |host, piece| {
                if attempts.keeps(piece.len(), host.requests() > 1, host.has_sent()) {
                    attempts.keep(piece.clone());
                }
            },
        )? {
            *progress = Progress::Ended;
        }
    }
    Ok(())
}

/// Moves what has left the chain to an end; each piece is shown to `before` first. True when that was the message's end.
fn drain<P: Peer>(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    direction: Direction,
    to: &mut P,
    watermark: usize,
    mut before: impl FnMut(&P, &Bytes),
) -> Result<bool, PeerError> {
    while to.unsent() < watermark {
        let Some(chunk) = stream.outgoing(direction).message.side.out.pop() else {
            break;
        };
        before(to, &chunk);
        to.send_bytes(cx, chunk)?;
    }
    stream.check_watermark(direction, to.unsent());
    let message = stream.outgoing(direction).message;
    if !message.side.out.is_empty() {
        return Ok(false);
    }
    let Some(end) = message.side.out_end else {
        return Ok(false);
    };
    let trailers = (end == End::Trailers).then_some(&message.trailers);
    to.send_end(trailers)?;
    Ok(true)
}
