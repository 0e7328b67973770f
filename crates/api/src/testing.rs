//! A stand-in for the proxy, without I/O: what an extension's author uses in unit tests.
//!
//! A [`FakeStream`] is a stream whose chain holds one filter. The test plays client, upstream and clock: it hands in
//! heads, bodies and trailers, lets timers run out, ends callouts, delivers what other threads posted; and looks at
//! what the filter answered, what it asked for and what went on from it. The rules are those of the proxy: a head that
//! has gone on is frozen, bad names and values and reserved fields are refused, a filter is called only for what it
//! [wants](crate::Wants), limits of buffers hold, a body keeps its announced length, and a local reply passes the filter's own
//! response callbacks. What it leaves out is all that lies around the filter: other filters, routes, hosts. A panic of
//! the filter is not caught, so that the test shows it.
//!
//! [`FakeConnection`] is the same for a network filter, [`FakeSocket`] for a listener filter. [`FakeWorker`] takes a factory through its whole life (parse,
//! prepare, build) and has the metrics, shared data and log lines that all of them write into.
//!
//! ```
//! use transom_api::builtin::Builtin;
//! use transom_api::testing::{Action, FakeWorker};
//! use transom_api::{HeadersVerdict, LocalReply, Node, ParseError, Schema, Stream, StreamFilter};
//!
//! /// Refuses paths that begin like this.
//! #[derive(Clone)]
//! struct Forbid(String);
//!
//! impl Builtin for Forbid {
//!     type Filter = Self;
//!     fn schema() -> Schema {
//!         Schema::object().required("prefix", Schema::string())
//!     }
//!     fn parse(node: &Node) -> Result<Self, ParseError> {
//!         let mut fields = node.as_fields()?;
//!         let prefix = fields.required("prefix")?.as_str()?.to_owned();
//!         fields.finish()?;
//!         Ok(Self(prefix))
//!     }
//!     fn filter(&self) -> Self {
//!         self.clone()
//!     }
//! }
//!
//! impl StreamFilter for Forbid {
//!     fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
//!         if !stream.request().get(":path").is_some_and(|path| path.starts_with(self.0.as_bytes())) {
//!             return HeadersVerdict::Continue;
//!         }
//!         let _ = stream.send_local_reply(LocalReply::new(403).details("forbidden_path"));
//!         HeadersVerdict::StopIteration
//!     }
//! }
//!
//! let mut worker = FakeWorker::new();
//! let forbid = worker.builtin::<Forbid>(&Node::map([("prefix", "/secret".into())])).unwrap();
//!
//! let mut allowed = forbid.stream().with_path("/open");
//! assert_eq!(allowed.request_headers(true), Some(HeadersVerdict::Continue));
//! assert_eq!(allowed.actions(), []);
//!
//! let mut refused = forbid.stream().with_path("/secret/plan");
//! refused.request_headers(true);
//! assert_eq!(refused.reply().unwrap().status, 403);
//! assert!(!refused.has_passed(transom_api::Direction::Request));
//!
//! // A mistake in the configuration is shown at its place.
//! let node = transom_api::testing::placed(&Node::map([("prefx", "/".into())]));
//! let error = worker.builtin::<Forbid>(&node).unwrap_err();
//! assert_eq!(error.to_string(), "line 1, column 1: the key `prefix` is missing");
//! ```

mod connection;
mod head;
mod later;
mod places;
mod process;
mod record;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod worker;

pub use connection::FakeConnection;
pub use later::Callout;
pub use places::placed;
pub use process::{FakeProcess, LogLine};
pub use record::FakeRecord;
pub use socket::{FakeListenerUse, FakeSocket};
pub use stream::{Action, FakeStream};
pub use worker::{FakeNetworkUse, FakeUse, FakeWorker, SetupError};
