//! A configuration as plain data, and the loader that reads it from YAML.
//!
//! What the proxy serves is a set of named **resources**: listeners, route tables, clusters and host sets. They are plain
//! data, compared by value, and whoever holds one knows that it was checked. This crate defines them and makes them from
//! a file. Other sources of configuration (a control plane, another proxy's files) make the same resources in their own way.
//!
//! A file goes through four levels, each a type of its own:
//!
//! ```text
//! text ── yaml ──▶ Node tree ── decode ──▶ the file's shapes ── lower ──▶ Configuration ── validate ──▶ served
//!                  every value    no unknown key,               names resolve,             extensions exist and
//!                  has its place  right types                   nesting undone             accept their own part
//! ```
//!
//! The configuration of an extension stays a [`Node`](transom_api::Node) until [`validate`] gives it to its factory, so a
//! mistake in it is shown at its own line. At every level all problems that can be found at once are collected in one
//! [`Report`], which shows the line with a caret under the fault, and says what to do.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod address;
mod chain_index;
mod chosen;
mod cluster;
mod condition;
mod decode;
mod dump;
mod file;
mod filter_chain;
mod folders;
mod health;
mod hop;
mod http;
mod limits;
mod listener;
mod load;
mod located;
mod lower;
mod network;
mod pattern;
mod problems;
mod questions;
mod report;
mod resources;
mod route;
mod schema;
mod target;
mod tls;
mod usage;
mod validate;
mod yaml;

pub use address::{HostAddress, ListenAddress, socket_name};
pub use chain_index::{ChainIndex, SameMatch};
pub use cluster::{
    Cluster, Discovery, Host, HostSet, OriginalDst, Pool, ProxyProtocol, ProxyValue, ProxyVersion,
};
pub use condition::{Case, Condition};
pub use filter_chain::{ChainMatch, ConnectionFacts, FilterChain, SourceType, TransportProtocol};
pub use folders::{Dropped, DroppedPlugin, Memory};
pub use health::{HealthCheck, HttpCheck, OutlierDetection, Statuses};
pub use hop::{Forwarded, ForwardedMode, HopOptions, RequestId, Server, Trace, Trust};
pub use http::{
    ForwardClientCertificate, HalfClose, Http, HttpLimits, HttpTimeouts, LocalReplyOptions,
    PathOptions, ResponseOrder, Treatment,
};
pub use limits::{CircuitBreakers, RetryBudget, RetryOn, RetryPolicy};
pub use listener::{
    AcceptRate, Balance, Chain, Listener, NetworkFilter, OnTimeout, TcpProxy, UdpProxy, UnixSocket,
};
pub use load::{
    LARGEST, check_again, check_file, check_file_with, check_str, load_file, load_str, load_tree,
};
pub use located::Located;
pub use network::IpNetwork;
pub use pattern::Pattern;
pub use questions::{OfPlugin, of_plugins};
pub use report::{Label, Problem, Report, Source, Sources};
pub use resources::{
    Admin, Changes, Configuration, Process, ProcessLimits, Resource, ResourceKind, ResourceName,
    Resources,
};
pub use route::{
    DirectResponse, FieldMatch, Forward, HeaderEdits, PathMatch, PathRewrite, Redirect,
    RedirectPath, Route, RouteAction, RouteFilter, RouteMatch, RouteTable, ValueMatch, VirtualHost,
    WeightedCluster,
};
pub use schema::schema;
pub use target::{AddressRoute, AddressSet, PortSet, Targets};
pub use tls::{
    Admitted, CertificateFiles, ClientCertificate, ClusterTls, ListenerTls, OnDemand, SanKind,
    SanMatch, TlsVersion, TrustedCa,
};
pub use usage::{Extension, ExtensionName, PluginDeclaration, Use};
pub use validate::validate;
