//! Uses of a plugin as its processes know them: described, checked, prepared, released. On the control side.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tonic::Code;
use transom_api::runtime::{Opinion, Question};
use transom_api::{Kind, Node, ParseError, Phase, PrepareError};
use transom_goplugin::Channel;

use crate::supervise::{Instance, Outcome, Plugin};
use crate::v1::plugin_client::PluginClient;
use crate::v1::{
    self, CheckRequest, DescribeRequest, DescribeResponse, Needs, PrepareRequest, ReleaseRequest,
};

/// How long a plugin may take for Describe and Release: they look nothing up.
const SHORT: Duration = Duration::from_secs(5);

/// How long a process that was started again may take to prepare a use.
const AGAIN: Duration = Duration::from_secs(30);

/// The pause before a process is asked again that could not prepare a use.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a process of another version is not used.
const OTHER_NEEDS: &str =
    "a process of another version asks for other callbacks or metrics than the one before it";

/// Numbers of uses: never used twice.
static NEXT_USE: AtomicU64 = AtomicU64::new(1);

/// A plugin that runs, and what it says of itself.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) described: DescribeResponse,
}

/// Where the factories of a declared plugin find it once it runs.
pub(crate) type Cell = Arc<OnceLock<Arc<Running>>>;

/// A use that is prepared in the plugin's processes, in each that comes as well. It is released when this is dropped.
pub(super) struct Used {
    pub(super) id: u64,
    pub(super) plugin: Arc<Plugin>,
    pub(super) needs: Needs,
    /// The processes in which it is ready.
    ready: watch::Receiver<Arc<[Arc<Instance>]>>,
    /// Its end is how the task that follows the processes learns of the use's.
    _alive: watch::Sender<()>,
}

/// What a use is.
pub(super) struct Subject {
    pub(super) kind: v1::Kind,
    pub(super) extension: String,
    pub(super) name: Arc<str>,
    pub(super) config: Node,
}

impl Running {
    /// Asks a started plugin what it is.
    pub(crate) async fn describe(plugin: Arc<Plugin>) -> Result<Self, PrepareError> {
        let name = plugin.name().to_owned();
        let failed = move |why: String| {
            PrepareError::new(format!("it does not say what it is: {why}")).with_help(format!(
                "does `{name}` serve transom.plugin.v1? `protocol:` names what a plugin speaks"
            ))
        };
        if !plugin.is_enabled() {
            return Err(
                PrepareError::new("it is disabled").with_help("enable it by the admin API first")
            );
        }
        let channel = plugin
            .newest()
            .and_then(|instance| instance.channel())
            .ok_or_else(|| failed("it has no connection".to_owned()))?;
        let request = DescribeRequest {
            revision: v1::REVISION,
            host: concat!("transom ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let described = bounded(SHORT, client(channel).describe(request))
            .await
            .map_err(|status| failed(status.to_string()))?;
        if described.revision == 0 {
            return Err(failed("its answer to Describe has no revision".to_owned()));
        }
        Ok(Self { plugin, described })
    }

    /// Asks it about configurations.
    pub(crate) async fn ask(&self, questions: &[Question]) -> Result<Vec<Opinion>, PrepareError> {
        let mut opinions = Vec::with_capacity(questions.len());
        for question in questions {
            opinions.push(self.opinion(question).await?);
        }
        Ok(opinions)
    }

    async fn opinion(&self, question: &Question) -> Result<Opinion, PrepareError> {
        let Some(kind) = number_of(question.kind) else {
            return Ok(Opinion::default());
        };
        let found = match self.extension(kind, &question.extension) {
            Ok(found) => found,
            Err(error) => {
                let fault = ParseError {
                    message: error.message,
                    span: error.span,
                    help: error.help,
                };
                return Ok(Opinion {
                    faults: vec![fault],
                    phase: None,
                });
            }
        };
        let failed = |why: String| {
            PrepareError::new(format!(
                "it does not say whether the configuration of `{}` is good: {why}",
                question.name
            ))
        };
        let channel = self
            .plugin
            .choose()
            .and_then(|instance| instance.channel())
            .ok_or_else(|| failed("it has no connection".to_owned()))?;
        let request = CheckRequest {
            subject: Some(v1::Use {
                id: 0,
                kind: kind.into(),
                extension: found.name.clone(),
                name: question.name.clone(),
                config: json_of(&question.config),
            }),
            route: question.is_route,
        };
        let answer = bounded(AGAIN, client(channel).check(request)).await;
        let answer = answer.map_err(|status| failed(status.to_string()))?;
        let faults = answer.faults.into_iter().map(|fault| ParseError {
            span: question
                .config
                .place_of(fault.path.iter().map(String::as_str)),
            message: fault.message,
            help: None,
        });
        let phase = v1::Phase::try_from(found.phase).ok();
        Ok(Opinion {
            faults: faults.collect(),
            phase: phase
                .filter(|_| kind == v1::Kind::StreamFilter)
                .map(|phase| match phase {
                    v1::Phase::BeforeRoute => Phase::BeforeRoute,
                    v1::Phase::AfterRoute => Phase::AfterRoute,
                    v1::Phase::AfterChooseHost => Phase::AfterChooseHost,
                }),
        })
    }

    /// The extension that a use names.
    pub(super) fn extension(
        &self,
        kind: v1::Kind,
        name: &str,
    ) -> Result<&v1::Extension, PrepareError> {
        let of_kind = || {
            let extensions = self.described.extensions.iter();
            extensions.filter(|extension| extension.kind == kind as i32)
        };
        let found = of_kind().find(|extension| extension.name == name);
        // A use may leave out the name of the only one.
        let only = || {
            let mut all = of_kind();
            all.next()
                .filter(|_| name.is_empty() && all.next().is_none())
        };
        if let Some(found) = found.or_else(only) {
            return Ok(found);
        }
        let plugin = self.plugin.name();
        let names: Vec<&str> = of_kind().map(|it| it.name.as_str()).collect();
        let kind = kind_of(kind).map_or("such extension", Kind::name);
        Err(match (names.is_empty(), name.is_empty()) {
            (true, _) => PrepareError::new(format!("the plugin `{plugin}` has no {kind}")),
            (false, true) => PrepareError::new(format!(
                "the plugin `{plugin}` has several of the kind {kind}"
            ))
            .with_help(format!(
                "name one behind a slash: {plugin}/{}",
                names.join(&format!(", {plugin}/"))
            )),
            (false, false) => {
                PrepareError::new(format!("the plugin `{plugin}` has no {kind} `{name}`"))
                    .with_help(transom_api::node::known(name, "names", &names))
            }
        })
    }
}

impl Used {
    /// Has the plugin prepare a use. Faults of the configuration stand at their lines.
    pub(super) async fn prepare(running: &Running, subject: Subject) -> Result<Self, PrepareError> {
        let id = NEXT_USE.fetch_add(1, Ordering::Relaxed);
        let plugin = Arc::clone(&running.plugin);
        let request = PrepareRequest {
            subject: Some(v1::Use {
                id,
                kind: subject.kind as i32,
                extension: subject.extension,
                name: subject.name.to_string(),
                config: json_of(&subject.config),
            }),
        };
        // Changes before the look are seen by it, those after it by the follower.
        let mut changes = plugin.changes();
        changes.mark_unchanged();
        let mut needs = None;
        let mut ready: Vec<Arc<Instance>> = Vec::new();
        let mut failed = None;
        // What the newest version says counts: one that it takes over from may not know the configuration.
        let mut instances = plugin.instances().to_vec();
        instances.sort_by_key(|instance| !plugin.owns(instance));
        for instance in &instances {
            match prepare_in(instance, &request).await {
                Ok(answer) if answer.faults.is_empty() => {
                    let asked = answer.needs.unwrap_or_default();
                    if *needs.get_or_insert_with(|| asked.clone()) == asked {
                        plugin.use_ready(id, instance);
                        ready.push(Arc::clone(instance));
                    } else {
                        plugin.use_refused(instance, OTHER_NEEDS);
                    }
                }
                Ok(answer) if needs.is_some() && !plugin.owns(instance) => {
                    plugin.use_refused(instance, reasons(&answer.faults));
                }
                Ok(answer) => return Err(faults(&answer.faults, &subject.config)),
                // The others may do; one that died is started again meanwhile.
                Err(why) => failed = Some(why),
            }
        }
        let Some(needs) = needs else {
            let why = failed.unwrap_or_else(|| "no process of it runs".to_owned());
            return Err(PrepareError::new(format!(
                "the plugin `{}` could not prepare it: {why}",
                plugin.name()
            )));
        };
        plugin.use_begins(id);
        let (publish, ready) = watch::channel(Arc::from(ready));
        let (alive, ends) = watch::channel(());
        let follower = Follower {
            plugin: Arc::clone(&plugin),
            request,
            needs: needs.clone(),
            publish,
        };
        tokio::spawn(follower.run(changes, ends));
        Ok(Self {
            id,
            plugin,
            needs,
            ready,
            _alive: alive,
        })
    }

    /// The processes in which it is ready, now and later.
    pub(super) fn ready(&self) -> watch::Receiver<Arc<[Arc<Instance>]>> {
        self.ready.clone()
    }
}

/// Prepares a use in each process that is started later.
struct Follower {
    plugin: Arc<Plugin>,
    request: PrepareRequest,
    needs: Needs,
    publish: watch::Sender<Arc<[Arc<Instance>]>>,
}

impl Follower {
    async fn run(self, mut changes: watch::Receiver<u64>, mut ends: watch::Receiver<()>) {
        loop {
            let again = self.follow().await;
            tokio::select! {
                () = tokio::time::sleep(PAUSE), if again => {}
                changed = changes.changed() => if changed.is_err() { break },
                // Nothing is ever sent: this is the end.
                _ = ends.changed() => break,
            }
        }
        self.release().await;
    }

    /// Prepares the use where it is not ready yet. Whether to try again soon.
    async fn follow(&self) -> bool {
        let mut again = false;
        let known = Arc::clone(&self.publish.borrow());
        let mut ready = Vec::new();
        let instances = self.plugin.instances();
        let mut told = known.len() != instances.len();
        for instance in instances.iter() {
            let number = instance.number();
            if !known.iter().any(|known| known.number() == number) {
                match prepare_in(instance, &self.request).await {
                    Ok(answer)
                        if answer.faults.is_empty()
                            && answer.needs.as_ref().unwrap_or(&Needs::default())
                                == &self.needs =>
                    {
                        self.plugin.use_ready(self.use_id(), instance);
                    }
                    Ok(answer) if answer.faults.is_empty() => {
                        tracing::error!(
                            plugin = self.plugin.name(),
                            "{OTHER_NEEDS}: it gets no traffic of this use; reload the configuration"
                        );
                        self.plugin.use_refused(instance, OTHER_NEEDS);
                        continue;
                    }
                    Ok(answer) => {
                        let why = reasons(&answer.faults);
                        tracing::error!(plugin = self.plugin.name(), "{why}");
                        self.plugin.use_refused(instance, why);
                        continue;
                    }
                    Err(why) => {
                        tracing::warn!(
                            plugin = self.plugin.name(),
                            "a new process could not prepare a use: {why}"
                        );
                        again |= instance.is_open();
                        continue;
                    }
                }
                told = true;
            }
            ready.push(Arc::clone(instance));
        }
        if told {
            // Nobody may look at this moment; whoever comes later finds it.
            self.publish.send_replace(ready.into());
        }
        again
    }

    fn use_id(&self) -> u64 {
        self.request.subject.as_ref().map_or(0, |it| it.id)
    }

    async fn release(&self) {
        let use_id = self.use_id();
        self.plugin.use_ends(use_id);
        let ready = Arc::clone(&self.publish.borrow());
        for instance in ready.iter() {
            if let Some(channel) = instance.channel().filter(|_| !instance.is_gone()) {
                // A process that cannot be told ends, or forgets it with its end.
                let _ = bounded(SHORT, client(channel).release(ReleaseRequest { use_id })).await;
            }
        }
    }
}

async fn prepare_in(
    instance: &Arc<Instance>,
    request: &PrepareRequest,
) -> Result<v1::PrepareResponse, String> {
    let channel = instance.channel().ok_or("it has no connection")?;
    let answer = bounded(AGAIN, client(channel).prepare(request.clone())).await;
    answer.map_err(|status| match status.code() {
        Code::Unimplemented => format!("it does not have this kind: {}", status.message()),
        _ => status.to_string(),
    })
}

/// What a process found wrong with a configuration that another had taken.
fn reasons(faults: &[v1::ConfigFault]) -> String {
    let why: Vec<&str> = faults.iter().map(|fault| &*fault.message).collect();
    format!(
        "a process refuses the configuration that another version took: {}",
        why.join("; ")
    )
}

/// What a plugin found wrong, at the place of the first.
fn faults(faults: &[v1::ConfigFault], config: &Node) -> PrepareError {
    let messages: Vec<String> = faults
        .iter()
        .map(|fault| match (fault.path.is_empty(), faults.len()) {
            (true, _) | (_, 1) => fault.message.clone(),
            _ => format!("{}: {}", fault.path.join("."), fault.message),
        })
        .collect();
    let place = faults
        .first()
        .and_then(|fault| config.place_of(fault.path.iter().map(String::as_str)));
    PrepareError::new(messages.join("; ")).at(place)
}

pub(super) fn client(channel: Channel) -> PluginClient<Channel> {
    // What a plugin may answer here is its description and its needs; 4 MiB, tonic's own bound, is plenty.
    PluginClient::new(channel)
}

/// A call with a deadline.
pub(super) async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, tonic::Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(tonic::Status::deadline_exceeded(format!(
            "no answer within {} s",
            limit.as_secs()
        ))),
    }
}

/// How a call went, for the plugin's counters.
pub(super) fn outcome<T>(answer: &Result<T, tonic::Status>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(status) if status.code() == Code::DeadlineExceeded => Outcome::Timeout,
        Err(_) => Outcome::Error,
    }
}

/// The plugin behind a cell, for a use that is being prepared.
pub(super) fn running(cell: &Cell) -> Result<Arc<Running>, PrepareError> {
    cell.get()
        .cloned()
        .ok_or_else(|| PrepareError::new("its plugin was not started"))
}

fn number_of(kind: Kind) -> Option<v1::Kind> {
    Some(match kind {
        Kind::StreamFilter => v1::Kind::StreamFilter,
        Kind::NetworkFilter => v1::Kind::NetworkFilter,
        Kind::AccessLog => v1::Kind::AccessLog,
        Kind::CertificateProvider => v1::Kind::CertificateProvider,
        Kind::LogSink => v1::Kind::LogSink,
        _ => return None,
    })
}

fn kind_of(kind: v1::Kind) -> Option<Kind> {
    Some(match kind {
        v1::Kind::StreamFilter => Kind::StreamFilter,
        v1::Kind::NetworkFilter => Kind::NetworkFilter,
        v1::Kind::AccessLog => Kind::AccessLog,
        v1::Kind::CertificateProvider => Kind::CertificateProvider,
        v1::Kind::LogSink => Kind::LogSink,
        v1::Kind::Unspecified => return None,
    })
}

/// The configuration of a route, as the plugin gets it.
pub(super) struct RouteJson(pub(super) Vec<u8>);

/// A route's configuration is read by the plugin when its first stream comes.
pub(super) fn parse_route(config: &Node) -> Result<transom_api::RouteConfig, ParseError> {
    Ok(Arc::new(RouteJson(json_of(config))))
}

/// A configuration as its plugin gets it; empty for none.
fn json_of(config: &Node) -> Vec<u8> {
    match config.is_null() {
        true => Vec::new(),
        false => config.to_json().into_bytes(),
    }
}
