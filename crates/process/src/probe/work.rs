//! One worker's stream, message by message.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};
use transom_goplugin::Channel;

use crate::v1::plugin_client::PluginClient;
use crate::v1::{
    Action, Answer, Credit, Hello, REVISION, StreamBegin, ToHost, ToPlugin, to_host, to_plugin,
};

/// How long a plugin may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A worker's stream with a plugin.
pub struct Work {
    sender: UnboundedSender<ToPlugin>,
    receiver: Streaming<ToHost>,
    /// What came while something else was waited for.
    early: VecDeque<ToHost>,
    credit: Credit,
    revision: u32,
    last_stream: u64,
    last_callback: u64,
}

/// How a plugin broke the protocol, or that it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// It ended the stream, or refused it.
    #[error("the plugin ended its worker's stream: {0}")]
    Ended(String),
    /// Nothing came.
    #[error("the plugin did not answer within 10 s: {0}")]
    Silent(String),
    /// Something else came than had to.
    #[error("the plugin breaks the protocol: {0}")]
    Broken(String),
}

impl From<Status> for WorkError {
    fn from(status: Status) -> Self {
        Self::Ended(status.to_string())
    }
}

impl Work {
    pub(super) async fn open(
        mut plugin: PluginClient<Channel>,
        worker: u32,
        messages: u64,
        bytes: u64,
    ) -> Result<Self, WorkError> {
        let (sender, outgoing) = unbounded_channel();
        let hello = ToPlugin {
            message: Some(to_plugin::Message::Hello(Hello {
                revision: REVISION,
                credit: Some(Credit { messages, bytes }),
                worker,
            })),
            ..ToPlugin::default()
        };
        let _ = sender.send(hello);
        let answer = plugin.work(UnboundedReceiverStream::new(outgoing)).await?;
        let mut work = Self {
            sender,
            receiver: answer.into_inner(),
            early: VecDeque::new(),
            credit: Credit::default(),
            revision: 0,
            last_stream: 0,
            last_callback: 0,
        };
        let first = work.receive("its Hello").await?;
        let Some(to_host::Message::Hello(hello)) = first.message else {
            return Err(WorkError::Broken(format!("its first message is {first:?}")));
        };
        work.revision = hello.revision;
        work.credit = hello.credit.unwrap_or_default();
        Ok(work)
    }

    /// The revision that the plugin was made with.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// What the plugin has granted and this host has not used.
    pub fn credit(&self) -> Credit {
        self.credit
    }

    /// Begins a stream of a use; its number.
    pub fn begin(&mut self, begin: StreamBegin) -> u64 {
        self.last_stream += 1;
        self.send(self.last_stream, 0, to_plugin::Message::StreamBegin(begin));
        self.last_stream
    }

    /// The number of a stream or connection that is to begin.
    pub fn next_stream(&mut self) -> u64 {
        self.last_stream += 1;
        self.last_stream
    }

    /// Sends a callback or an event; its number.
    pub fn call(&mut self, stream: u64, message: to_plugin::Message) -> u64 {
        self.last_callback += 1;
        let bytes = match &message {
            to_plugin::Message::Data(data) | to_plugin::Message::Bytes(data) => data.data.len(),
            _ => 0,
        };
        self.credit.messages = self.credit.messages.saturating_sub(1);
        self.credit.bytes = self.credit.bytes.saturating_sub(bytes as u64);
        self.send(stream, self.last_callback, message);
        self.last_callback
    }

    /// Sends what has no answer.
    pub fn tell(&mut self, stream: u64, message: to_plugin::Message) {
        self.send(stream, 0, message);
    }

    fn send(&self, stream: u64, callback: u64, message: to_plugin::Message) {
        // A plugin that is gone is seen where its answer is waited for.
        let _ = self.sender.send(ToPlugin {
            stream,
            callback,
            message: Some(message),
        });
    }

    /// Waits for the answer to a callback. Actions that streams ask for by themselves wait meanwhile.
    pub async fn answer(&mut self, callback: u64) -> Result<Answer, WorkError> {
        loop {
            let is_it = |message: &ToHost| message.callback == callback;
            if let Some(place) = self.early.iter().position(is_it)
                && let Some(message) = self.early.remove(place)
            {
                return answer(message);
            }
            let message = self.receive("the answer to a callback").await?;
            if message.callback == callback {
                return answer(message);
            }
            self.early.push_back(message);
        }
    }

    /// The next answer or actions of whatever stream: stream, callback (0 for actions by themselves), and what it asks.
    pub async fn next(&mut self) -> Result<(u64, u64, Answer), WorkError> {
        let message = match self.early.pop_front() {
            Some(message) => message,
            None => self.receive("anything").await?,
        };
        let (stream, callback) = (message.stream, message.callback);
        Ok((stream, callback, answer(message)?))
    }

    /// The same, or `None` if nothing comes in this time.
    pub async fn next_within(
        &mut self,
        time: Duration,
    ) -> Result<Option<(u64, u64, Answer)>, WorkError> {
        match tokio::time::timeout(time, self.next()).await {
            Ok(next) => next.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// What a stream asks for by itself, if there is something already.
    pub(super) fn early_actions(&mut self, stream: u64) -> Vec<Action> {
        let is_it = |message: &ToHost| message.stream == stream && message.callback == 0;
        let mut actions = Vec::new();
        while let Some(place) = self.early.iter().position(is_it)
            && let Some(message) = self.early.remove(place)
        {
            if let Ok(answer) = answer(message) {
                actions.extend(answer.actions);
            }
        }
        actions
    }

    /// Grants the plugin more.
    pub fn grant(&mut self, messages: u64, bytes: u64) {
        self.send(0, 0, to_plugin::Message::Credit(Credit { messages, bytes }));
    }

    async fn receive(&mut self, what: &str) -> Result<ToHost, WorkError> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.receiver.message()).await;
            let message =
                message.map_err(|_| WorkError::Silent(format!("waited for {what}")))??;
            let Some(message) = message else {
                return Err(WorkError::Ended("without an error".to_owned()));
            };
            if let Some(to_host::Message::Credit(credit)) = message.message {
                self.credit.messages = self.credit.messages.saturating_add(credit.messages);
                self.credit.bytes = self.credit.bytes.saturating_add(credit.bytes);
                continue;
            }
            return Ok(message);
        }
    }
}

/// What a message asks for.
fn answer(message: ToHost) -> Result<Answer, WorkError> {
    match (message.message, message.callback) {
        (Some(to_host::Message::Answer(answer)), 1..) => Ok(answer),
        (Some(to_host::Message::Actions(actions)), 0) => Ok(Answer {
            actions: actions.actions,
            ..Answer::default()
        }),
        (other, callback) => Err(WorkError::Broken(format!(
            "for callback {callback} it sends {other:?}"
        ))),
    }
}
