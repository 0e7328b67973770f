//! The shapes of a configuration file: what a person writes, before names resolve and nesting is undone.
//!
//! The comments on the keys are the descriptions of `transom schema` and of the tables in `docs/configuration.md`.

pub(crate) mod chain;
mod cluster;
mod condition;
mod health;
mod hop;
mod implementation;
mod leaf;
mod limits;
mod metadata;
mod network;
mod route;
mod socket;
pub(crate) mod tls;
mod upstream;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::decode::{Tried, Verbatim};
use crate::{ListenAddress, Located};

pub(crate) use cluster::{Cluster, Endpoint, HostSet};
pub(crate) use condition::{Condition, Conditions, UseBounds};
pub(crate) use health::{HealthCheck, HttpCheck, Initially, OutlierDetection};
pub(crate) use hop::{Forwarded, ForwardedMode, RequestId, Server, Trace};
pub(crate) use implementation::{
    ClientUse, Implementation, LoadBalancing, RegistryUse, ServerUse, TransportUse,
};
use leaf::tried;
pub(crate) use leaf::{
    DURATION, Entries, Items, Name, NonZeroTime, Percent, Ranged, SIZE, Size, Time, format_size,
};
pub(crate) use limits::{CircuitBreakers, Retry};
pub(crate) use network::{AddressRoute, HashBy, TcpProxy, UdpProxy};
pub(crate) use route::{
    DirectResponse, FieldMatch, HeaderEdits, Match, Redirect, RegexRewrite, Rewrite, Route,
    RouteFilter, RouteTable, VirtualHost, WeightedCluster,
};
pub(crate) use socket::{AcceptRate, Balance, Owner, ProcessLimits, UnixSocket};
pub(crate) use upstream::{ProxyProtocol, ProxyValue};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

type Watermark = Size<KIB, { 1024 * MIB }>;

/// The whole file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Configuration {
    /// The number of workers, each a thread. One per core when it is left out. Read at start only.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) workers: Option<Ranged<1, 1024>>,
    /// The admin interface. None when it is left out. Read at start only.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) admin: Option<Admin>,
    /// How long connections may take to end after the process was told to stop. `0s` ends them at once.
    #[serde(default = "drain_timeout", deserialize_with = "tried")]
    pub(crate) drain_timeout: Time,
    /// What the process takes in all.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) limits: ProcessLimits,
    /// Where connections come in. Names and addresses are unique.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) listeners: Items<Listener>,
    /// Route tables that `http` filters use by name. Names are unique.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) route_tables: Items<RouteTable>,
    /// Where requests go. Names are unique.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) clusters: Items<Located<Cluster>>,
    /// Sets of hosts that clusters use by name. Names are unique.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) host_sets: Items<HostSet>,
    /// Code that is not compiled in, by name: what a use calls it in `plugin`. A plugin that holds several extensions has
    /// them called `NAME/EXTENSION`.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "std::collections::BTreeMap<String, Plugin>")]
    pub(crate) plugins: Entries<Verbatim>,
    /// Folders in which each program is a plugin, by name. `plugin: NAME/*` is a use of each of them, in the order of their names.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "std::collections::BTreeMap<String, PluginFolder>")]
    #[expect(dead_code, reason = "its programs are among the plugins by then")]
    pub(crate) plugin_folders: Entries<PluginFolder>,
    /// Extensions that are configured once and used by name, with `extension`. Names are unique.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) extensions: Items<Located<Extension>>,
}

/// The admin interface.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// Where it listens: an address and port of the loopback, or a Unix socket.
    pub(crate) address: Located<ListenAddress>,
    /// Answers `GET /plugin?enable=NAME` and `?disable=NAME` as MOSN does. Without it only POST changes anything.
    #[serde(default)]
    pub(crate) mosn_compatible: bool,
}

/// An address on which connections are accepted, and what is done with them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// Its name.
    pub(crate) name: Tried<Located<Name>>,
    /// Where it listens: address and port (port 0 lets the system choose), a Unix socket, or `udp:` with address and port.
    pub(crate) address: Tried<Located<ListenAddress>>,
    /// TLS of the default chain. Plain bytes when it is left out.
    #[serde(default)]
    pub(crate) tls: Option<Tried<Located<tls::ListenerTls>>>,
    /// What looks at a connection before its chain is chosen, in this order. The bytes that it looks at are still there
    /// for the chain.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Vec<ListenerFilterUse>")]
    pub(crate) listener_filters: Items<Located<Use>>,
    /// How long all listener filters together may wait for a client's bytes. Longer than zero.
    #[serde(default = "listener_filters_timeout", deserialize_with = "tried")]
    pub(crate) listener_filters_timeout: NonZeroTime,
    /// What becomes of a connection whose listener filters waited for so long: `close` it, or `continue` with what they
    /// know by then.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) on_listener_filters_timeout: chain::OnTimeout,
    /// What records each connection when it ends.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Vec<AccessLogUse>")]
    pub(crate) access_logs: Items<Located<Use>>,
    /// Chains for certain connections. The most specific match wins, wherever it stands.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) filter_chains: Items<Located<chain::FilterChain>>,
    /// The default chain: what handles connections that no other chain matches, in this order. The last one is `http`,
    /// `tcp_proxy` or another that ends the chain, and only the last. May be left out beside `filter_chains`: then such connections are closed.
    #[serde(default)]
    #[schemars(with = "Vec<NetworkFilterUse>")]
    pub(crate) network_filters: Option<Located<Items<Located<Use>>>>,
    /// How many connections may be open at once; more are closed at once. No limit but that of the process when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) max_connections: Option<Ranged<1, { u32::MAX }>>,
    /// How fast connections are accepted. As fast as they come when it is left out.
    #[serde(default)]
    pub(crate) accept_rate: Option<Tried<Located<AcceptRate>>>,
    /// How connections are dealt out to the workers: `kernel` leaves it to the kernel, which goes by the addresses of both ends; `exact` gives
    /// each to the worker that has the fewest, for few connections that last long.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) balance: Option<Located<Balance>>,
    /// The file of a Unix socket. For those only.
    #[serde(default)]
    pub(crate) unix_socket: Option<Tried<Located<UnixSocket>>>,
    /// Takes connections to any address that the kernel brings here, by netfilter's `TPROXY`. Needs the capability CAP_NET_ADMIN or CAP_NET_RAW.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) transparent: Located<bool>,
}

/// Code that is not compiled in. What else it may say depends on its runtime.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Plugin {
    /// The runtime that hosts it: `process` for a program of its own, `library` for a shared library.
    #[expect(
        dead_code,
        reason = "read by hand: the runtime's own keys stand beside it"
    )]
    pub(crate) runtime: String,
}

/// A folder in which each program is a plugin: declared when it appears, and no more when it is gone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read before the file is: folders.rs")]
pub(crate) struct PluginFolder {
    /// Where it is. Programs, and the folder, must belong to root or to the user that the process runs as, and nobody else may change them.
    pub(crate) path: String,
    /// What holds for each of them: keys of a plugin with `runtime: process`, but for `command`. A file `PROGRAM.yaml` beside a program says
    /// more of that one.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub(crate) plugin: Option<Verbatim>,
}

/// An extension that is configured once and used by name. Its users share it, and a reload that changes it alone leaves
/// all else as it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extension {
    /// Its name here: what uses call it in `extension`.
    pub(crate) id: Tried<Located<Name>>,
    /// The name of an extension that is compiled in. Either this or `plugin`.
    #[serde(default)]
    pub(crate) name: Option<Located<String>>,
    /// The name of a plugin. Either this or `name`.
    #[serde(default)]
    pub(crate) plugin: Option<Located<String>>,
    /// The extension's own configuration.
    #[serde(default)]
    pub(crate) config: Option<Verbatim>,
}

/// The use of an extension.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Use {
    /// The name of an extension that is compiled in. This, `plugin` or `extension`.
    #[serde(default)]
    pub(crate) name: Option<Located<String>>,
    /// The name of a plugin. This, `name` or `extension`.
    #[serde(default)]
    pub(crate) plugin: Option<Located<String>>,
    /// The `id` of an extension below `extensions`, which has its configuration there. This, `name` or `plugin`.
    #[serde(default)]
    pub(crate) extension: Option<Located<String>>,
    /// A shared library as MOSN's files name it, without a declaration in `plugins`. `name` is then what the use is called.
    #[serde(default)]
    pub(crate) go_plugin_config: Option<Tried<Located<GoPluginConfig>>>,
    /// The name of this use, unique in its chain. The extension's name when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) id: Option<Located<Name>>,
    /// The extension's own configuration.
    #[serde(default)]
    pub(crate) config: Option<Verbatim>,
    /// Where on the way of a request a stream filter works. The extension's own default when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) phase: Option<Located<Phase>>,
    /// What becomes of a stream or connection when the extension fails: `closed` ends it, `open` lets it go on.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(extend("default" = "closed"))]
    pub(crate) on_failure: Option<Located<FailurePolicy>>,
    /// For which requests (of a network filter: connections; of an access log: records) it works. All when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) when: Option<Located<Conditions>>,
    /// For how many of a hundred of those it works, by chance. All when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) sample: Option<Located<Percent>>,
    /// What the use may have on its way to its plugin. As the plugin's own bounds say when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) bounds: Option<Located<UseBounds>>,
    /// Leaves the use in the file and out of the traffic.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) disabled: Located<bool>,
}

/// A shared library as MOSN's files name it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoPluginConfig {
    /// The shared library, made for Transom. A relative path begins at the configuration's folder.
    pub(crate) so_path: Located<String>,
    /// The name of the extension in the library; the only one when it is left out, or MOSN's default `CreateFilterFactory`.
    #[serde(default)]
    pub(crate) factory_method: Option<Located<String>>,
}

/// Where on the way of a request a stream filter works.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Phase {
    BeforeRoute,
    AfterRoute,
    AfterChooseHost,
}

/// What becomes of the traffic when an extension fails.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum FailurePolicy {
    Closed,
    Open,
}

/// The configuration of the network filter `http`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// What each request and response passes, in this order; responses in the reverse.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Vec<StreamFilterUse>")]
    pub(crate) stream_filters: Items<Located<Use>>,
    /// What records each stream when it is complete.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Vec<AccessLogUse>")]
    pub(crate) access_logs: Items<Located<Use>>,
    /// The name of a route table. Either this or `virtual_hosts`.
    #[serde(default)]
    pub(crate) route_table: Option<Tried<Located<String>>>,
    /// The routes, written in place. Either this or `route_table`.
    #[serde(default)]
    pub(crate) virtual_hosts: Option<Tried<Items<VirtualHost>>>,
    /// How paths are brought into one form before filters and routes see them.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) paths: Paths,
    /// What becomes of the request field `x-forwarded-client-cert`: `sanitise` takes it away, `forward` leaves what the client
    /// sent, `set` has it tell of the certificate that the client has shown on this connection.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) forward_client_certificate: ForwardClientCertificate,
    /// Who the client is, and what the upstream is told of it.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) forwarded: Forwarded,
    /// What becomes of `x-request-id`. It stays as it comes when this is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) request_id: Option<RequestId>,
    /// What becomes of the W3C trace context. It stays as it comes when this is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) trace: Option<Trace>,
    /// The name by which requests and responses tell in `via` that they passed here. Nothing is told when it is left out.
    #[serde(default)]
    pub(crate) via: Option<Located<String>>,
    /// The field `server` of responses. It stays as the host sends it when this is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) server: Option<Server>,
    /// The protocol that clients speak: the name of a server, or its name and configuration. The one chosen with `--server`, or
    /// `http1`, when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) protocol: Option<Located<ServerUse>>,
    /// In which order a response passes the stream filters: `reverse`, or `config` as they are written.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) response_order: ResponseOrder,
    /// How the proxy's own replies look.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) local_reply: LocalReply,
    /// Protocols that a client may switch a connection to by `Upgrade`, by their names without case. Bytes of a tunnel pass
    /// the stream filters as bodies. Other upgrades are not asked of the upstream: the request goes on as a plain one.
    #[serde(default = "upgrades", deserialize_with = "tried")]
    pub(crate) upgrades: Items<Located<String>>,
    /// What becomes of a request whose client ends its sending direction: `serve` answers it, `abort` ends it, which spares
    /// work for clients that went away and cannot be told from those that still read.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) half_close: HalfClose,
    /// Takes lines of a head that end in LF alone. Chunks and trailers must have CRLF in any case.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) allow_bare_lf: bool,
    /// What a request may not exceed.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) limits: Limits,
    /// How long things may take.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) timeouts: Timeouts,
    /// How many bytes of a body are held for a side that does not read, before the other side is read no more.
    #[serde(default = "watermark", deserialize_with = "tried")]
    pub(crate) watermark: Watermark,
}

/// What becomes of the request field that tells of the client's certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ForwardClientCertificate {
    #[default]
    Sanitise,
    Forward,
    Set,
}

/// What becomes of a request whose client ends its sending direction.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum HalfClose {
    #[default]
    Serve,
    Abort,
}

/// In which order a response passes the stream filters.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ResponseOrder {
    #[default]
    Reverse,
    Config,
}

/// What is done with a part of a path.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Treatment {
    #[default]
    Keep,
    Reject,
    Normalise,
}

/// How paths are brought into one form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Paths {
    /// Slashes and backslashes that are written as `%2F` and `%5C`: `keep` them, `reject` with 400, or `normalise` to `/`.
    #[serde(deserialize_with = "tried")]
    pub(crate) escaped_slashes: Treatment,
    /// Segments `.` and `..`, also when written as `%2E`: `normalise`, `reject` with 400, or `keep` them.
    #[serde(deserialize_with = "tried")]
    pub(crate) dot_segments: Treatment,
    /// Makes one slash of several in a row.
    #[serde(deserialize_with = "tried")]
    pub(crate) merge_slashes: bool,
}

/// How the proxy's own replies look.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LocalReply {
    /// The status when no host can be reached or none is healthy.
    #[serde(deserialize_with = "tried")]
    pub(crate) upstream_unavailable: Ranged<400, 599>,
    /// Repeats the headers of the request in the reply.
    #[serde(deserialize_with = "tried")]
    pub(crate) echo_request_headers: bool,
}

/// What a request may not exceed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Fields in a head. More is answered 431.
    #[serde(deserialize_with = "tried")]
    pub(crate) fields: Ranged<1, 10_000>,
    /// Bytes of a head. More is answered 431.
    #[serde(deserialize_with = "tried")]
    pub(crate) head: Size<256, { 16 * MIB }>,
    /// Bytes of a request line, no more than `head`. More is answered 414.
    #[serde(deserialize_with = "tried")]
    pub(crate) request_line: Located<Size<64, { 16 * MIB }>>,
    /// Bytes of a request's body. More is answered 413. No limit when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) request_body: Option<Size<0, { u64::MAX }>>,
}

/// How long things may take. `0s` is for ever.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// From a request's first byte to the end of its head.
    #[serde(deserialize_with = "tried")]
    pub(crate) header: Time,
    /// Between two pieces of a request's body.
    #[serde(deserialize_with = "tried")]
    pub(crate) body_idle: Time,
    /// Between two pieces of a response that the client takes.
    #[serde(deserialize_with = "tried")]
    pub(crate) write_idle: Time,
    /// Between two requests on a connection.
    #[serde(deserialize_with = "tried")]
    pub(crate) idle: Time,
    /// From the end of a request's head to the end of the response, for routes without a `timeout`.
    #[serde(deserialize_with = "tried")]
    pub(crate) stream: Time,
    /// Without a byte either way in a tunnel. The `stream` timeout and those of routes end where a tunnel opens.
    #[serde(deserialize_with = "tried")]
    pub(crate) tunnel_idle: Time,
}

fn drain_timeout() -> Time {
    Time::seconds(30)
}

/// What one side may run ahead of the other: large enough for a round trip at some Gbit/s inside a data centre, small
/// enough that ten thousand stuck streams fit into memory.
fn watermark() -> Watermark {
    Size(64 * KIB)
}

/// As long as a request's head may take.
fn listener_filters_timeout() -> NonZeroTime {
    NonZeroTime(std::time::Duration::from_secs(10))
}

/// What browsers use; each upstream says itself, by a 101, whether it does.
fn upgrades() -> Items<Located<String>> {
    Items {
        items: vec![Located::new("websocket".to_owned())],
        whole: true,
    }
}

impl Default for LocalReply {
    fn default() -> Self {
        Self {
            upstream_unavailable: Ranged(502),
            echo_request_headers: false,
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            escaped_slashes: Treatment::Keep,
            dot_segments: Treatment::Normalise,
            merge_slashes: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fields: Ranged(100),
            head: Size(60 * KIB),
            request_line: Located::new(Size(8 * KIB)),
            request_body: None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Time::seconds(10),
            body_idle: Time::seconds(30),
            write_idle: Time::seconds(30),
            idle: Time::seconds(60),
            stream: Time::seconds(60),
            // Longer than what clients and servers of WebSocket let pass between pings, as a rule 20 to 60 s.
            tunnel_idle: Time::seconds(300),
        }
    }
}

macro_rules! uses {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Only a name in the schema, under which what the registry knows is put.
        pub(crate) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                Use::json_schema(generator)
            }
        }
    )*};
}

uses! {
    /// The use of a listener filter.
    ListenerFilterUse;
    /// The use of a network filter.
    NetworkFilterUse;
    /// The use of a stream filter.
    StreamFilterUse;
    /// The use of an access log.
    AccessLogUse;
    /// The use of a certificate provider.
    CertificateProviderUse;
}
