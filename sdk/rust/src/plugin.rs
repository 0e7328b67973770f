//! What a plugin's `main` says.

use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use transom_api::builtin::{Builtin, NetworkBuiltin};
use transom_api::{
    CertificateProviders, Factory, NetworkFilters, Phase, Registry, Schema, StreamFilters,
};
use transom_goplugin::plugin::{HclogLayer, PluginSet, ServeConfig, serve};
use transom_goplugin::{HandshakeConfig, MAX_MESSAGE, Services};

use crate::certificate::{CertificateSource, SourceFactory};
use crate::log::{self, AccessLog, LogSink, MakeLog};
use crate::mosn;
use crate::needs::Asks;
use crate::proto::v1::plugin_server::PluginServer;
use crate::proto::v1::{Extension, Kind};
use crate::schema::json_schema;
use crate::service::{Declared, Logs, Served, Service};
use crate::threads::Threads;
use crate::uses::Uses;

/// The cookie of Transom's own protocol, by which a program knows that a host has started it.
pub const COOKIE: (&str, &str) = ("TRANSOM_PLUGIN_COOKIE", "transom.plugin.v1");

/// The cookie of MOSN's plugins.
pub const MOSN_COOKIE: (&str, &str) = ("MOSN_PLUGIN", "ON");

/// A plugin: a name, a version, and what it can be used as.
///
/// ```no_run
/// use std::process::ExitCode;
/// use transom_sdk::api::{HeadersVerdict, LocalReply};
/// use transom_sdk::Plugin;
///
/// fn main() -> ExitCode {
///     Plugin::new("guard", env!("CARGO_PKG_VERSION"))
///         .stream_filter_fn(|stream| {
///             if stream.request().contains("authorization") {
///                 return HeadersVerdict::Continue;
///             }
///             let _ = stream.send_local_reply(LocalReply::new(401).details("guard_denied"));
///             HeadersVerdict::StopIteration
///         })
///         .serve()
/// }
/// ```
pub struct Plugin {
    name: String,
    version: String,
    registry: Registry,
    declared: Vec<Declared>,
    logs: Logs,
    threads: usize,
    fault: Option<String>,
}

impl Plugin {
    /// A plugin that can nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            registry: Registry::new(),
            declared: Vec::new(),
            logs: Logs::default(),
            threads: 1,
            fault: None,
        }
    }

    /// Adds a stream filter, the plugin's only one.
    #[must_use]
    pub fn stream_filter<B: Builtin>(self) -> Self {
        self.stream_filter_named::<B>("")
    }

    /// Adds a stream filter under a name, which `extension:` of a use says.
    #[must_use]
    pub fn stream_filter_named<B: Builtin>(mut self, name: &str) -> Self {
        let added = self.registry.register_builtin::<B>(name);
        self.note(added);
        self.declare(Kind::StreamFilter, name, &json_schema(&B::schema()))
    }

    /// Adds a stream filter that is just a function of the request's headers, the plugin's only one.
    #[must_use]
    pub fn stream_filter_fn<F>(mut self, on_request: F) -> Self
    where
        F: Fn(&mut transom_api::Stream<'_>) -> transom_api::HeadersVerdict + Send + Sync + 'static,
    {
        let added = self.registry.register_fn("", on_request);
        self.note(added);
        self.declare(
            Kind::StreamFilter,
            "",
            &serde_json::json!({"type": "object"}),
        )
    }

    /// Adds a stream filter by its factory.
    #[must_use]
    pub fn stream_filter_factory(
        mut self,
        name: &str,
        factory: Arc<dyn Factory<StreamFilters>>,
    ) -> Self {
        let schema = json_schema(&factory.schema());
        let added = self.registry.register(name, factory);
        self.note(added);
        self.declare(Kind::StreamFilter, name, &schema)
    }

    /// Adds a network filter, the plugin's only one.
    #[must_use]
    pub fn network_filter<B: NetworkBuiltin>(self) -> Self {
        self.network_filter_named::<B>("")
    }

    /// Adds a network filter under a name.
    #[must_use]
    pub fn network_filter_named<B: NetworkBuiltin>(mut self, name: &str) -> Self {
        let added = self.registry.register_network_builtin::<B>(name);
        self.note(added);
        self.declare(Kind::NetworkFilter, name, &json_schema(&B::schema()))
    }

    /// Adds a network filter by its factory.
    #[must_use]
    pub fn network_filter_factory(
        mut self,
        name: &str,
        factory: Arc<dyn Factory<NetworkFilters>>,
    ) -> Self {
        let schema = json_schema(&factory.schema());
        let added = self.registry.register(name, factory);
        self.note(added);
        self.declare(Kind::NetworkFilter, name, &schema)
    }

    /// Adds a certificate provider, the plugin's only one.
    #[must_use]
    pub fn certificates<S: CertificateSource>(self) -> Self {
        self.certificate_factory("", Arc::new(SourceFactory::<S>(PhantomData)))
    }

    /// Adds a certificate provider by its factory.
    #[must_use]
    pub fn certificate_factory(
        mut self,
        name: &str,
        factory: Arc<dyn Factory<CertificateProviders>>,
    ) -> Self {
        let schema = json_schema(&factory.schema());
        let added = self.registry.register(name, factory);
        self.note(added);
        self.declare(Kind::CertificateProvider, name, &schema)
    }

    /// Adds an access log, the plugin's only one. Name what its entries have behind it: [`attributes`](Self::attributes),
    /// [`request_headers`](Self::request_headers), [`response_headers`](Self::response_headers).
    #[must_use]
    pub fn access_log<L: AccessLog>(self) -> Self {
        self.access_log_named::<L>("")
    }

    /// Adds an access log under a name.
    #[must_use]
    pub fn access_log_named<L: AccessLog>(self, name: &str) -> Self {
        self.log(Kind::AccessLog, name, &L::schema(), log::access_log::<L>())
    }

    /// Adds a log sink, the plugin's only one.
    #[must_use]
    pub fn log_sink<L: LogSink>(self) -> Self {
        self.log_sink_named::<L>("")
    }

    /// Adds a log sink under a name.
    #[must_use]
    pub fn log_sink_named<L: LogSink>(self, name: &str) -> Self {
        self.log(Kind::LogSink, name, &L::schema(), log::log_sink::<L>())
    }

    fn log(mut self, kind: Kind, name: &str, schema: &Schema, make: MakeLog) -> Self {
        if self.logs.insert((kind, name.to_owned()), make).is_some() {
            self.note(Err::<(), _>(format!("two logs are named {name:?}")));
        }
        self.declare(kind, name, &json_schema(schema))
    }

    /// Has the last extension's callbacks run in another phase than `before_route`, unless its use says so.
    #[must_use]
    pub fn phase(self, phase: Phase) -> Self {
        self.last(|declared| declared.extension.phase = phase as i32)
    }

    /// Attributes that the last extension looks at. What follows from the messages themselves need not be named.
    #[must_use]
    pub fn attributes<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names = names.into_iter().map(str::to_owned).collect();
        self.last(|declared| declared.asks.attributes = names)
    }

    /// The only headers of requests that the last extension looks at: the others are not sent to it, but can be set and removed.
    #[must_use]
    pub fn request_headers<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names = names.into_iter().map(str::to_owned).collect();
        self.last(|declared| declared.asks.request_headers = names)
    }

    /// The only headers of responses that the last extension looks at.
    #[must_use]
    pub fn response_headers<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names = names.into_iter().map(str::to_owned).collect();
        self.last(|declared| declared.asks.response_headers = names)
    }

    /// Threads for filters; 1 unless set. All streams of one of the host's workers stay on one of them.
    #[must_use]
    pub fn threads(mut self, count: usize) -> Self {
        self.threads = count;
        self
    }

    /// Serves until the host ends the plugin or is gone; a plugin's `main` returns what this returns.
    ///
    /// It speaks Transom's protocol or MOSN's, whichever the cookie in its environment names. Uses that have no configuration of their own,
    /// and MOSN's calls, get the one in the file that the argument `-c FILE` (or `--config FILE`) names, as JSON.
    ///
    /// What the program writes by `tracing` becomes the host's log, from the level in `TRANSOM_LOG` on (`info` unless set).
    pub fn serve(self) -> ExitCode {
        match self.try_serve() {
            Ok(code) => code,
            Err(text) => {
                eprintln!("{text}");
                ExitCode::FAILURE
            }
        }
    }

    fn try_serve(self) -> Result<ExitCode, String> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let level = level(std::env::var("TRANSOM_LOG").ok().as_deref());
        // A program that has set up its own log keeps it.
        let _ = tracing_subscriber::registry()
            .with(tracing_subscriber::filter::LevelFilter::from_level(
                tracing_level(level),
            ))
            .with(HclogLayer::new())
            .try_init();
        let is_mosn = std::env::var(MOSN_COOKIE.0).is_ok_and(|value| value == MOSN_COOKIE.1);
        let threads = if is_mosn { 1 } else { self.threads };
        let served = Arc::new(Served {
            name: self.name,
            version: self.version,
            registry: self.registry,
            declared: self.declared,
            logs: self.logs,
            default_config: config_of_arguments(std::env::args().skip(1))?,
            uses: Arc::new(Uses::default()),
            shared: crate::store::shared_data(),
            level,
            threads: Threads::new(threads).map_err(|error| format!("no threads: {error}"))?,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .map_err(|error| format!("no event loop: {error}"))?;
        runtime.block_on(async move {
            if is_mosn {
                let calls = mosn::Calls::prepare(served).await?;
                return Ok(serve(mosn::config(calls)).await);
            }
            let service = Service(served);
            let plugins = PluginSet::new().plugin("transom", move |_broker| {
                let server = PluginServer::new(service.clone());
                Services::new().add_service(server.max_decoding_message_size(MAX_MESSAGE))
            });
            let handshake = HandshakeConfig::new(1, COOKIE.0, COOKIE.1);
            Ok(serve(ServeConfig::new(handshake).plugins(plugins)).await)
        })
    }

    fn declare(mut self, kind: Kind, name: &str, schema: &serde_json::Value) -> Self {
        self.declared.push(Declared {
            extension: Extension {
                kind: kind.into(),
                name: name.to_owned(),
                phase: 0,
                schema: schema.to_string(),
            },
            asks: Asks::default(),
        });
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Declared)) -> Self {
        match self.declared.last_mut() {
            Some(declared) => change(declared),
            None => self.fault = Some("name an extension before what it asks for".to_owned()),
        }
        self
    }

    /// A mistake in the plugin itself, which is shown when it is served.
    fn note<E: std::fmt::Display>(&mut self, added: Result<(), E>) {
        if let Err(error) = added {
            self.fault.get_or_insert(error.to_string());
        }
    }
}

/// What the file that `-c` names says; nothing if there is no such argument.
fn config_of_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Vec<u8>, String> {
    while let Some(argument) = arguments.next() {
        let file = match argument.split_once('=') {
            Some(("-c" | "--config", file)) => Some(file.to_owned()),
            _ if argument == "-c" || argument == "--config" => arguments.next(),
            _ => continue,
        };
        let Some(file) = file else {
            return Err(format!(
                "{argument} wants the name of a file: -c config.json"
            ));
        };
        return std::fs::read(&file)
            .map_err(|error| format!("cannot read the configuration {file}: {error}"));
    }
    Ok(Vec::new())
}

fn level(name: Option<&str>) -> transom_api::Level {
    let named = transom_api::Level::ALL
        .into_iter()
        .find(|level| name.is_some_and(|name| name.eq_ignore_ascii_case(level.name())));
    named.unwrap_or(transom_api::Level::Info)
}

fn tracing_level(level: transom_api::Level) -> tracing::Level {
    match level {
        transom_api::Level::Trace => tracing::Level::TRACE,
        transom_api::Level::Debug => tracing::Level::DEBUG,
        transom_api::Level::Info => tracing::Level::INFO,
        transom_api::Level::Warn => tracing::Level::WARN,
        transom_api::Level::Error => tracing::Level::ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Vec<u8>, String> {
        config_of_arguments(arguments.iter().map(|&argument| argument.to_owned()))
    }

    #[test]
    fn the_configuration_is_the_file_that_is_named() {
        let file = std::env::temp_dir().join(format!("transom-sdk-{}.json", std::process::id()));
        std::fs::write(&file, "{}").unwrap();
        let name = file.to_str().unwrap();
        assert_eq!(of(&["x", "-c", name]).unwrap(), b"{}");
        assert_eq!(of(&[&format!("--config={name}")]).unwrap(), b"{}");
        assert_eq!(of(&["x"]).unwrap(), b"");
        std::fs::remove_file(&file).unwrap();
        assert!(of(&["-c", name]).unwrap_err().starts_with("cannot read"));
        assert!(of(&["-c"]).unwrap_err().contains("wants the name"));
    }
}
