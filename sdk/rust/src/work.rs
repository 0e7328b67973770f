//! One worker of the host: all its streams and connections, on one thread of the plugin.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::{Status, Streaming};
use transom_api::event::Address;
use transom_api::{BuildError, Event, FilterError, HeadersVerdict, SharedData, Wants};

use crate::connection::RemoteConnection;
use crate::later::{self, Around, Later, Posted, Posts};
use crate::live::{LiveConnection, LiveStream};
use crate::output::Output;
use crate::part::{Built, PART, Part, address, number};
use crate::proto::v1::{
    ConnectionBegin, StreamBegin, ToHost, ToPlugin, action, to_plugin::Message,
};
use crate::stream::RemoteStream;
use crate::uses::Uses;

/// Serves a worker until the host ends the stream or is gone.
pub(crate) async fn serve(
    uses: Arc<Uses>,
    shared: SharedData,
    level: transom_api::Level,
    mut incoming: Streaming<ToPlugin>,
    sender: UnboundedSender<Result<ToHost, Status>>,
) {
    let (posts, mut posted) = unbounded_channel();
    let around = Around {
        inbox: Arc::new(Posts(posts)),
        shared,
        level,
    };
    let mut worker = Worker::new(uses, around, Output::new(sender.clone()));
    let end = run(&mut worker, &mut incoming, &mut posted).await;
    if let Err(status) = end {
        let _ = sender.send(Err(status));
    }
}

async fn run(
    worker: &mut Worker,
    incoming: &mut Streaming<ToPlugin>,
    posted: &mut UnboundedReceiver<(Address, Posted)>,
) -> Result<(), Status> {
    loop {
        tokio::select! {
            message = incoming.message() => match message? {
                Some(message) => worker.receive(message)?,
                None => return Ok(()),
            },
            // Never ends: the worker itself keeps a sender.
            Some((to, post)) = posted.recv() => worker.post(to, post),
        }
    }
}

struct Worker {
    uses: Arc<Uses>,
    around: Around,
    output: Output,
    index: usize,
    parts: HashMap<u64, Result<Part, BuildError>>,
    /// The count of releases that `parts` has seen.
    releases: u64,
    streams: HashMap<u64, LiveStream>,
    connections: HashMap<u64, LiveConnection>,
}

impl Worker {
    fn new(uses: Arc<Uses>, around: Around, output: Output) -> Self {
        Self {
            releases: uses.releases(),
            uses,
            around,
            output,
            index: 0,
            parts: HashMap::new(),
            streams: HashMap::new(),
            connections: HashMap::new(),
        }
    }

    fn receive(&mut self, message: ToPlugin) -> Result<(), Status> {
        let ToPlugin {
            stream: id,
            callback,
            message,
        } = message;
        // A message of a newer revision that needs no answer.
        let Some(message) = message else {
            return Ok(());
        };
        if callback != 0 {
            self.output.used(match &message {
                Message::Data(data) | Message::Bytes(data) => data.data.len(),
                _ => 0,
            });
        }
        let message = match message {
            Message::Headers(mut headers) => {
                if let Some(begin) = headers.begin.take() {
                    self.begin_stream(id, begin);
                }
                Message::Headers(headers)
            }
            message => message,
        };
        match message {
            Message::Hello(hello) => {
                self.index = hello.worker as usize;
                self.output.granted(hello.credit.unwrap_or_default());
            }
            Message::Credit(credit) => self.output.granted(credit),
            Message::StreamBegin(begin) => self.begin_stream(id, begin),
            Message::ConnectionBegin(begin) => self.begin_connection(id, callback, begin),
            message if self.connections.contains_key(&id) => {
                self.for_connection(id, callback, message);
            }
            message => self.for_stream(id, callback, message),
        }
        Ok(())
    }

    fn begin_stream(&mut self, id: u64, begin: StreamBegin) {
        let address = address(id, 0);
        let around = self.around.clone();
        let route_config = begin.route_config;
        let stream = match self.part(begin.use_id) {
            Ok(part) => {
                let Built::Stream {
                    worker,
                    wants,
                    phase,
                } = part.built.clone()
                else {
                    return; // a use of another kind: its callbacks find no stream
                };
                let route = (!route_config.is_empty()).then(|| part.route(route_config));
                let mut later = Later::new(around, address, part.clusters.clone());
                later.learn(begin.attributes);
                let mut host = RemoteStream::new(later, wants, phase);
                match route.transpose() {
                    Ok(route) => {
                        host.route = route;
                        LiveStream::new(host, |stream| worker.stream(stream))
                    }
                    Err(text) => LiveStream::new(host, |_| Err(FilterError::broken(text))),
                }
            }
            Err(error) => {
                let later = Later::new(around, address, [].into());
                let host = RemoteStream::new(
                    later,
                    transom_api::Wants::NOTHING,
                    transom_api::Phase::BeforeRoute,
                );
                LiveStream::new(host, |_| Err(FilterError::broken(error.message)))
            }
        };
        self.streams.insert(id, stream);
    }

    fn begin_connection(&mut self, id: u64, callback: u64, begin: ConnectionBegin) {
        let address = address(id, 0);
        let around = self.around.clone();
        let mut connection = match self.part(begin.use_id) {
            Ok(part) => {
                let Built::Network(worker) = part.built.clone() else {
                    return;
                };
                let mut later = Later::new(around, address, part.clusters.clone());
                later.learn(begin.attributes);
                let host = RemoteConnection::new(later);
                LiveConnection::new(host, |connection| worker.connection(connection))
            }
            Err(error) => {
                let host = RemoteConnection::new(Later::new(around, address, [].into()));
                LiveConnection::new(host, |_| Err(FilterError::broken(error.message)))
            }
        };
        let verdict = connection.begin();
        let actions = connection.host.take_actions();
        self.connections.insert(id, connection);
        self.output.answer(id, callback, verdict, actions, false);
    }

    fn for_stream(&mut self, id: u64, callback: u64, message: Message) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return; // gone by the time that it arrived
        };
        let mut over = false;
        let is_head = matches!(message, Message::Headers(_));
        let verdict = match message {
            Message::Headers(headers) => stream.headers(
                later::direction(headers.direction),
                headers.fields,
                headers.end,
            ),
            Message::Data(data) => {
                stream.data(later::direction(data.direction), data.data, data.end)
            }
            Message::Trailers(trailers) => {
                stream.trailers(later::direction(trailers.direction), trailers.fields)
            }
            Message::Event(event) => {
                if let Some(event) = later::event(event) {
                    stream.event(event);
                }
                0
            }
            Message::Complete(complete) => {
                stream.host.later.learn(complete.attributes);
                if let Some(reason) = complete.reset {
                    stream.event(Event::Reset(later::reset_reason(reason)));
                }
                stream.complete();
                over = true;
                0
            }
            Message::Gone(gone) => {
                if let Some(reason) = gone.reason {
                    stream.event(Event::Reset(later::reset_reason(reason)));
                }
                self.streams.remove(&id);
                return;
            }
            _ => 0,
        };
        let actions = stream.take_actions();
        // A filter of request headers that has let them go, or answered them, sees nothing more: the host need not tell of the end.
        let done = is_head
            && Wants::REQUEST_HEADERS.contains(stream.host.wants)
            && stream.host.later.is_quiet()
            && (verdict == HeadersVerdict::Continue as i32
                || actions
                    .iter()
                    .any(|it| matches!(it.action, Some(action::Action::LocalReply(_)))));
        if over || done {
            self.streams.remove(&id);
        }
        if callback != 0 {
            self.output.answer(id, callback, verdict, actions, done);
        }
    }

    fn for_connection(&mut self, id: u64, callback: u64, message: Message) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let verdict = match message {
            Message::Bytes(data) | Message::Data(data) => {
                connection.bytes(later::direction(data.direction), data.data, data.end)
            }
            Message::Event(event) => {
                if let Some(event) = later::event(event) {
                    connection.event(event);
                }
                0
            }
            Message::Closed(closed) => {
                connection.closed(later::reset_reason(closed.by));
                self.connections.remove(&id);
                return;
            }
            Message::Gone(_) => {
                self.connections.remove(&id);
                return;
            }
            _ => 0,
        };
        let actions = connection.host.take_actions();
        if callback != 0 {
            self.output.answer(id, callback, verdict, actions, false);
        }
    }

    /// Something that a resumer or a part's timer has posted.
    fn post(&mut self, to: Address, post: Posted) {
        let id = number(to);
        if to.filter == PART {
            if let Some(Ok(part)) = self.parts.get_mut(&id) {
                part.event(post);
            }
            return;
        }
        let Posted::Message(message) = post else {
            return;
        };
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.event(Event::Resumed(message));
            let actions = stream.take_actions();
            self.output.actions(id, actions);
        } else if let Some(connection) = self.connections.get_mut(&id) {
            connection.event(Event::Resumed(message));
            let actions = connection.host.take_actions();
            self.output.actions(id, actions);
        }
    }

    /// This worker's part of a use, built when its first stream comes.
    fn part(&mut self, id: u64) -> Result<&mut Part, BuildError> {
        let releases = self.uses.releases();
        if releases != self.releases {
            self.releases = releases;
            self.parts.retain(|id, _| self.uses.find(*id).is_some());
        }
        let built = match self.parts.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let built = match self.uses.find(id) {
                    Some(used) => Part::build(id, used, &self.around, self.index),
                    None => return Err(BuildError::new(format!("use {id} was not prepared"))),
                };
                place.insert(built)
            }
        };
        built.as_mut().map_err(|error| error.clone())
    }
}
