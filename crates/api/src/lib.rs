//! What a Transom extension is.
//!
//! An extension implements one of the [kinds](Kind) and is known by a name in the [`Registry`]. Whether it is compiled
//! in, a child process, a dynamic library, a WebAssembly module or a Lua script, it meets the proxy through the same
//! traits, which is why this crate has no dependencies and no I/O: every border can carry it.
//!
//! # From configuration to traffic
//!
//! 1. A [`Factory`] in the registry **parses** a [`Node`] (pure; mistakes are shown at their line);
//! 2. what was parsed is **prepared** on the control side, where it may wait: compile, fetch, start a child;
//! 3. each worker **builds** its part, which may be `!Send`;
//! 4. the worker's part makes a [`StreamFilter`] for each stream, or a [`NetworkFilter`] for each connection.
//!
//! Nothing skips a level, and dropping a level is its end.
//!
//! # In traffic
//!
//! Callbacks get a context ([`Stream`], [`Connection`], [`Worker`]), look at [views](headers) and answer a
//! [verdict] at once. What takes time goes by [`Resumer`], timers and callouts and comes back as an
//! [`Event`]. The [host traits](host) are the other side of the contexts: what a proxy, or an SDK standing in for it,
//! implements; [`testing`] is one for unit tests.
//!
//! [`builtin`] is the easy way to a filter in a few lines; [`async_filter`] lets one be written as an `async fn`.

mod context;

pub mod access_log;
pub mod async_filter;
pub mod bounds;
pub mod broker;
pub mod builtin;
pub mod callout;
pub mod certificate_provider;
pub mod client;
pub mod control;
pub mod event;
pub mod factory;
pub mod field;
pub mod flags;
pub mod headers;
pub mod host;
mod json;
pub mod kind;
pub mod listener;
pub mod metrics;
pub mod network;
pub mod networks;
pub mod node;
pub mod registry;
pub mod reply;
pub mod runtime;
pub mod schema;
pub mod selector;
pub mod server;
pub mod service_registry;
pub mod shared;
pub mod stream;
pub mod suggest;
pub mod testing;
pub mod trace_context;
#[cfg(unix)]
pub mod transport;
pub mod units;
pub mod value;
pub mod verdict;
pub mod worker;

pub use access_log::{AccessLogConfig, AccessLogWorker, Record};
pub use bounds::UseBounds;
pub use broker::{Broker, BrokerMessage, Deliver, PublishError, Published, Subscription};
pub use callout::{
    CalloutDone, CalloutError, CalloutId, CalloutResponse, GrpcCall, GrpcEvent, GrpcOpen, HttpCall,
};
pub use certificate_provider::{Certificate, CertificateProvider, Certificates, Changed, Provide};
pub use client::{Answer, ClientConnection, ClientProtocol, ProtocolError};
pub use event::{Event, Message, ResetReason, Resumer, TimerId};
pub use factory::{
    AfterFailure, BuildError, Factory, FailurePolicy, FilterError, Parsed, Prepare, PrepareContext,
    PrepareError, RouteConfig,
};
pub use flags::ResponseFlags;
pub use headers::{Body, BodyError, BodyMut, HeaderError, HeaderMap, Headers, HeadersMut, Value};
pub use host::{Level, OverrideError, Released};
#[cfg(unix)]
pub use kind::Transports;
pub use kind::{
    AccessLogs, Brokers, CertificateProviders, Clients, ExtensionKind, Kind, ListenerFilters,
    NetworkFilters, Selectors, Servers, ServiceRegistries, StreamFilters,
};
pub use listener::{
    ListenerFilter, ListenerFilterConfig, ListenerFilterWorker, Socket, SocketInfo,
};
pub use metrics::{Counter, Distribution, Gauge, Histogram, MetricError, Metrics};
pub use network::{
    Connection, NetworkFilter, NetworkFilterConfig, NetworkFilterWorker, NetworkWants,
};
pub use networks::Networks;
pub use node::{Fields, Key, Node, NodeKind, ParseError, Span};
pub use registry::{Chosen, DuplicateExtension, Registry, UnknownExtension};
pub use reply::LocalReply;
pub use runtime::{Plugin, PluginLife, PreparePlugin, Runtime};
pub use schema::{Schema, Shape};
pub use selector::{Selector, SelectorConfig, SelectorHost, SelectorTable, SelectorView};
pub use server::{Asked, ServerConnection, ServerProtocol};
pub use service_registry::{Discovered, ServiceEntry, ServiceHost, ServiceRegistry};
pub use shared::{SharedData, SharedError, SharedValue};
pub use stream::{
    Stream, StreamFilter, StreamFilterConfig, StreamFilterWorker, StreamInstance, Wants,
};
#[cfg(unix)]
pub use transport::{Connect, Destination, Transport};
pub use value::{Attribute, FilterState, Metadata, MetadataOf, MetadataValue, attribute};
pub use verdict::{
    DataVerdict, Direction, HeadersVerdict, ListenerVerdict, NetworkVerdict, Phase, TrailersVerdict,
};
pub use worker::{Drain, Worker, WorkerPart};
