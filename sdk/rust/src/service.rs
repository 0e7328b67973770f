//! The service `transom.plugin.v1.Plugin`, over the extensions of a [`Plugin`](crate::Plugin).

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::unbounded_channel;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use transom_api::{
    CertificateProviders, Factory, NetworkFilters, Parsed, PrepareContext, PrepareError, Registry,
    SharedData, StreamFilters,
};

use crate::config::{self, Config};
use crate::log::{Keep, MakeLog};
use crate::needs::{self, Asks, Defined};
use crate::proto::REVISION;
use crate::proto::v1::plugin_server::Plugin;
use crate::proto::v1::{
    CertificateRequest, CertificateResponse, CheckRequest, CheckResponse, ConfigFault,
    DescribeRequest, DescribeResponse, Extension, Kind, LogBatch, LogSummary, Needs,
    PrepareRequest, PrepareResponse, ReleaseRequest, ReleaseResponse, ToHost, ToPlugin,
};
use crate::threads::Threads;
use crate::uses::{Prepared, Use, Uses};
use crate::work;

/// An extension, as the host is told of it.
pub(crate) struct Declared {
    pub(crate) extension: Extension,
    pub(crate) asks: Asks,
}

/// All that the calls share.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) registry: Registry,
    pub(crate) declared: Vec<Declared>,
    pub(crate) logs: Logs,
    /// The configuration of uses that have none, as JSON: the plugin's own arguments.
    pub(crate) default_config: Vec<u8>,
    pub(crate) uses: Arc<Uses>,
    pub(crate) shared: SharedData,
    pub(crate) level: transom_api::Level,
    pub(crate) threads: Threads,
}

/// What reads the configurations of access logs and log sinks, by their names.
pub(crate) type Logs = HashMap<(Kind, String), MakeLog>;

#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Served>);

type Faults = Vec<ConfigFault>;

/// An extension, and a configuration of it that is good.
type Read<K> = (Arc<dyn Factory<K>>, Arc<dyn Parsed<K>>);

impl Served {
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Result<&Declared, Status> {
        let mut of_kind = self
            .declared
            .iter()
            .filter(|declared| declared.extension.kind == kind as i32);
        let found = if name.is_empty() {
            of_kind.next().filter(|_| of_kind.next().is_none())
        } else {
            of_kind.find(|declared| declared.extension.name == name)
        };
        found.ok_or_else(|| {
            let known: Vec<String> = self.declared.iter().map(shown).collect();
            Status::invalid_argument(format!(
                "this plugin has no {} named {name:?}; it has: {}",
                kind.as_str_name().to_ascii_lowercase(),
                known.join(", "),
            ))
        })
    }

    pub(crate) fn read(&self, config: &[u8]) -> Result<Config, Faults> {
        let json = if config.is_empty() {
            &self.default_config
        } else {
            config
        };
        Config::read(json).map_err(|fault| vec![fault])
    }

    pub(crate) fn parse_stream(
        &self,
        declared: &Declared,
        config: &Config,
    ) -> Result<Read<StreamFilters>, Faults> {
        self.parse::<StreamFilters>(declared, config)
    }

    fn parse<K: transom_api::ExtensionKind>(
        &self,
        declared: &Declared,
        config: &Config,
    ) -> Result<Read<K>, Faults> {
        let factory = self
            .registry
            .find::<K>(&declared.extension.name)
            .map_err(|error| vec![config::fault(error.to_string())])?;
        let parsed = factory
            .parse(&config.node)
            .map_err(|error| vec![config.parse_fault(&error)])?;
        Ok((factory, parsed))
    }

    fn parse_log(
        &self,
        kind: Kind,
        declared: &Declared,
        config: &Config,
    ) -> Result<Arc<dyn Keep>, Faults> {
        let name = declared.extension.name.clone();
        let make = self
            .logs
            .get(&(kind, name))
            .ok_or_else(|| vec![config::fault("the log is not there")])?;
        make(&config.node).map_err(|error| vec![config.parse_fault(&error)])
    }

    pub(crate) fn context(&self, name: &str, defined: &Arc<Defined>) -> PrepareContext {
        PrepareContext {
            instance: name.into(),
            workers: 1,
            metrics: defined.metrics(),
            shared: self.shared.clone(),
            folder: std::path::Path::new("").into(),
            bounds: transom_api::UseBounds::default(),
        }
    }

    /// Parses and prepares a use, whatever its kind.
    pub(crate) async fn prepare(
        &self,
        kind: Kind,
        declared: &Declared,
        name: &str,
        config: &Config,
    ) -> Result<(Use, Needs), Faults> {
        let defined = Arc::new(Defined::default());
        let context = self.context(name, &defined);
        let faults = |error: PrepareError| vec![config.prepare_fault(&error)];
        let (prepared, mut needs) = match kind {
            Kind::StreamFilter => {
                let (factory, parsed) = self.parse_stream(declared, config)?;
                let prepared = parsed.prepare(context).await.map_err(faults)?;
                let needs = needs::of_stream(prepared.wants(), parsed.clusters(), &declared.asks);
                let phase = parsed.phase();
                let stream = Prepared::Stream {
                    factory,
                    config: prepared,
                    phase,
                };
                (stream, needs)
            }
            Kind::NetworkFilter => {
                let (_, parsed) = self.parse::<NetworkFilters>(declared, config)?;
                let prepared = parsed.prepare(context).await.map_err(faults)?;
                let needs = needs::of_network(prepared.wants(), parsed.clusters(), &declared.asks);
                (Prepared::Network(prepared), needs)
            }
            Kind::CertificateProvider => {
                let (_, parsed) = self.parse::<CertificateProviders>(declared, config)?;
                let prepared = parsed.prepare(context).await.map_err(faults)?;
                (Prepared::Certificates(prepared), Needs::default())
            }
            Kind::AccessLog | Kind::LogSink => {
                let keep = self.parse_log(kind, declared, config)?;
                (Prepared::Log(keep), needs::of_log(&declared.asks))
            }
            Kind::Unspecified => {
                return Err(vec![config::fault(
                    "this SDK has no extensions of this kind",
                )]);
            }
        };
        needs.metrics = defined.take();
        let ready = Use {
            name: name.into(),
            clusters: needs.clusters.clone(),
            prepared,
        };
        Ok((ready, needs))
    }
}

fn shown(declared: &Declared) -> String {
    let kind = declared.extension.kind().as_str_name().to_ascii_lowercase();
    match declared.extension.name.as_str() {
        "" => kind,
        name => format!("{kind} {name:?}"),
    }
}

#[tonic::async_trait]
impl Plugin for Service {
    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        tracing::debug!(host = request.get_ref().host, "described");
        let declared = self.0.declared.iter();
        Ok(Response::new(DescribeResponse {
            revision: REVISION,
            name: self.0.name.clone(),
            version: self.0.version.clone(),
            extensions: declared
                .map(|declared| declared.extension.clone())
                .collect(),
        }))
    }

    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let subject = request.subject.unwrap_or_default();
        let declared = self.0.find(subject.kind(), &subject.extension)?;
        let checked = self.0.read(&subject.config).and_then(|config| {
            if request.route {
                let factory = self
                    .0
                    .registry
                    .find::<StreamFilters>(&declared.extension.name)
                    .map_err(|error| vec![config::fault(error.to_string())])?;
                let parsed = factory.parse_route(&config.node);
                return parsed
                    .map(drop)
                    .map_err(|error| vec![config.parse_fault(&error)]);
            }
            match subject.kind() {
                Kind::StreamFilter => self.0.parse::<StreamFilters>(declared, &config).map(drop),
                Kind::NetworkFilter => self.0.parse::<NetworkFilters>(declared, &config).map(drop),
                Kind::CertificateProvider => self
                    .0
                    .parse::<CertificateProviders>(declared, &config)
                    .map(drop),
                kind @ (Kind::AccessLog | Kind::LogSink) => {
                    self.0.parse_log(kind, declared, &config).map(drop)
                }
                Kind::Unspecified => Ok(()),
            }
        });
        Ok(Response::new(CheckResponse {
            faults: checked.err().unwrap_or_default(),
        }))
    }

    async fn prepare(
        &self,
        request: Request<PrepareRequest>,
    ) -> Result<Response<PrepareResponse>, Status> {
        let subject = request.into_inner().subject.unwrap_or_default();
        let kind = subject.kind();
        let declared = self.0.find(kind, &subject.extension)?;
        let prepared = match self.0.read(&subject.config) {
            Ok(config) => self.0.prepare(kind, declared, &subject.name, &config).await,
            Err(faults) => Err(faults),
        };
        Ok(Response::new(match prepared {
            Ok((ready, needs)) => {
                tracing::debug!(name = &*ready.name, id = subject.id, "ready");
                self.0.uses.add(subject.id, ready);
                PrepareResponse {
                    faults: Vec::new(),
                    needs: Some(needs),
                }
            }
            Err(faults) => PrepareResponse {
                faults,
                needs: None,
            },
        }))
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        self.0.uses.release(request.into_inner().use_id);
        Ok(Response::new(ReleaseResponse {}))
    }

    type WorkStream = UnboundedReceiverStream<Result<ToHost, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<ToPlugin>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let (sender, receiver) = unbounded_channel();
        let served = Arc::clone(&self.0);
        let incoming = request.into_inner();
        self.0.threads.run(move || {
            work::serve(
                Arc::clone(&served.uses),
                served.shared.clone(),
                served.level,
                incoming,
                sender,
            )
        });
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }

    async fn certificate(
        &self,
        request: Request<CertificateRequest>,
    ) -> Result<Response<CertificateResponse>, Status> {
        let request = request.into_inner();
        let used = self.0.uses.find(request.use_id);
        let Some(Prepared::Certificates(provider)) = used.as_deref().map(|used| &used.prepared)
        else {
            return Err(Status::invalid_argument(format!(
                "use {} is no certificate provider of this plugin that is ready",
                request.use_id
            )));
        };
        let answer = crate::certificate::answer(provider, &request.server_name).await;
        answer
            .map(Response::new)
            .map_err(|error| Status::unavailable(error.to_string()))
    }

    async fn log(
        &self,
        request: Request<Streaming<LogBatch>>,
    ) -> Result<Response<LogSummary>, Status> {
        let mut batches = request.into_inner();
        let mut entries = 0;
        while let Some(batch) = batches.message().await? {
            let used = self.0.uses.find(batch.use_id);
            let Some(Prepared::Log(keep)) = used.as_deref().map(|used| &used.prepared) else {
                return Err(Status::invalid_argument(format!(
                    "use {} is no log of this plugin that is ready",
                    batch.use_id
                )));
            };
            entries += (batch.entries.len() + batch.lines.len()) as u64;
            let keep = Arc::clone(keep);
            // One after the other: while it takes its time, the host is not read.
            let kept = tokio::task::spawn_blocking(move || keep.keep(batch)).await;
            kept.map_err(|error| Status::internal(format!("the log failed: {error}")))?;
        }
        Ok(Response::new(LogSummary { entries }))
    }
}
