//! Brokers: messages to topics, and from them.
//!
//! A broker is asked from workers, which never wait: a message is put into its queue, and what became of it is told later,
//! from whatever thread. A queue that is full refuses at once.
//!
//! ```text
//! Parsed ── prepare ──▶ Broker ── publish(message, done) ──▶ topic ──▶ whoever has subscribed
//!                                 subscribe(topic, deliver)
//! ```

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A prepared configuration of a broker: the broker itself, with its connection.
pub trait Broker: Send + Sync {
    /// Takes a message, or refuses it at once. `done` is called once, when the broker has it for sure or it is lost; it may
    /// be called before this returns, and not when this returns an error. Must not wait.
    fn publish(&self, message: BrokerMessage, done: Published) -> Result<(), PublishError>;

    /// Has `deliver` called for each message of a topic, from whatever thread, until what is returned is dropped. How topics
    /// may be named by a pattern is the broker's own. Must not wait.
    fn subscribe(&self, topic: &str, deliver: Deliver) -> Result<Subscription, PublishError>;
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerMessage {
    /// Where it goes. Which names are good is the broker's own.
    pub topic: String,
    /// What is said of the body: names as in HTTP, without pseudo-headers.
    pub headers: Vec<(String, String)>,
    /// The message itself.
    pub body: Vec<u8>,
}

/// Called when it is known what became of a message.
pub type Published = Box<dyn FnOnce(Result<(), PublishError>) + Send>;

/// Called for each message of a subscription.
pub type Deliver = Arc<dyn Fn(BrokerMessage) + Send + Sync>;

/// Holds a subscription; dropping it ends that.
pub type Subscription = Box<dyn Any + Send>;

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// As many messages wait as may.
    Full,
    /// The broker cannot be reached.
    Away(String),
    /// The message is not one that it takes: its topic, its size.
    Refused(String),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("its queue is full"),
            Self::Away(why) => write!(f, "it cannot be reached: {why}"),
            Self::Refused(why) => write!(f, "it does not take the message: {why}"),
        }
    }
}

impl std::error::Error for PublishError {}
