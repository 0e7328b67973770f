//! `transom run`: serves until it is told to end.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use transom_admin::Admin;
use transom_api::Registry;
use transom_config::{Configuration, Memory, check_again, check_file_with, check_str};
use transom_logs::Logs;
use transom_process::launch::cgroup::Delegated;
use transom_process::supervise::Supervisor;
use transom_proxy::{Proxy, Settings};

use crate::choose::Choice;
use crate::control::{Handle, Running, go_without, report};
use crate::example::Example;
use crate::{BAD_INPUT, FAULT, GOOD, check, folders, log};

/// How often it is looked whether files of TLS changed: a renewal is used within this time.
const LOOK_AT_FILES: Duration = Duration::from_secs(3);

/// Changes of hosts that come faster than this are used together.
const BETWEEN_HOSTS: Duration = Duration::from_millis(50);

/// How long the last lines of access logs may take to be written.
const WRITE_LOGS: Duration = Duration::from_secs(3);

/// Serves a configuration until a signal ends it.
pub(crate) fn run(file: Option<&Path>, choice: &Choice) -> u8 {
    let (_log, levels) = log::start();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Parsing, compiling and dropping; few at a time, so that they do not crowd the workers out.
        .max_blocking_threads(4)
        .build();
    let outcome = runtime
        .context("the control thread's event loop could not be made")
        .and_then(|runtime| {
            let code = runtime.block_on(serve(file, choice, levels))?;
            // What still runs on blocking threads is of no interest any more.
            runtime.shutdown_timeout(Duration::from_secs(1));
            Ok(code)
        });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("transom: {error:#}");
            FAULT
        }
    }
}

/// Has the process open as many descriptors as the system lets it: each connection takes up to two, and 1024, which many systems
/// begin with for the sake of programs that use `select`, is little for a proxy.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

async fn serve(file: Option<&Path>, choice: &Choice, levels: log::Levels) -> anyhow::Result<u8> {
    let mut signals = Signals::new()?;
    let logs = Logs::default();
    reopen_on_signal(logs.clone())?;
    let supervisor = Supervisor::new();
    let cgroup = Delegated::find();
    let registry = match check::registry_in(&logs, &supervisor, choice, cgroup) {
        Ok(registry) => Arc::new(registry),
        Err(error) => {
            eprintln!("transom: {error:#}");
            return Ok(BAD_INPUT);
        }
    };
    let mut memory = Memory::default();
    let (mut configuration, example) = loop {
        match load(file, &registry, &memory)? {
            Ok(loaded) => break loaded,
            Err(problems) if go_without(&mut memory, &problems) => {}
            Err(problems) => {
                check::show(&problems);
                return Ok(BAD_INPUT);
            }
        }
    };
    let process = configuration.process.clone();
    let workers = process
        .workers
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get);
    let proxy = Proxy::start(Settings {
        workers,
        registry: Arc::clone(&registry),
    });
    let proxy = Arc::new(proxy.context("the workers could not be started")?);
    let admin = match process.admin.as_ref().map(Admin::bind).transpose() {
        Ok(admin) => admin,
        Err(error) => {
            eprintln!("transom: {error}");
            return Ok(BAD_INPUT);
        }
    };
    while let Err(error) = proxy.apply(&configuration.resources).await {
        let mut problems = report(error, &configuration);
        if go_without(&mut memory, &problems) {
            match check_again(&configuration, &registry, &memory) {
                Ok(without) => {
                    configuration = without;
                    continue;
                }
                Err(others) => problems = others,
            }
        }
        check::show(&problems);
        return Ok(BAD_INPUT);
    }
    for name in configuration.resources.listeners.keys() {
        if let Some(address) = proxy.address(name) {
            tracing::info!(listener = name, %address, workers, "listening");
        }
    }
    let running = Running::new(
        Arc::clone(&proxy),
        registry,
        file.map(Path::to_owned),
        configuration,
        memory,
    );
    let following = tokio::spawn(follow_hosts(Arc::clone(&running)));
    let (end_admin, admin_ends) = oneshot::channel::<()>();
    let admin = admin.map(|admin| {
        tracing::info!(address = %admin.local_address(), "admin API");
        let control = Arc::new(Handle {
            running: Arc::clone(&running),
            logs: logs.clone(),
            levels,
            supervisor: Arc::clone(&supervisor),
        });
        tokio::spawn(admin.serve(control, async {
            // Ends as well when the other side is dropped.
            let _ = admin_ends.await;
        }))
    });
    if let Some(example) = example {
        example
            .serve()
            .context("the example's upstream could not be started")?;
        announce(&proxy);
    }
    until_end(&mut signals, &running).await;
    following.abort();

    tracing::info!(limit = ?process.drain_timeout, "draining: no more connections are taken");
    tokio::select! {
        drained = proxy.drain(process.drain_timeout) => {
            if !drained {
                tracing::warn!("some connections did not end in time and are closed");
            }
        }
        () = signals.end() => tracing::warn!("a second signal: ending at once"),
    }
    drop(end_admin);
    if let Some(admin) = admin {
        // It has five seconds of its own to finish what it answers.
        let _ = admin.await;
    }
    drop(running);
    proxy.stop();
    // Nobody calls them any more.
    supervisor.stop().await;
    // What libraries write goes on meanwhile, on threads of its own.
    let written = logs.finish(WRITE_LOGS);
    if !transom_library::finish_logs(WRITE_LOGS) || !written {
        tracing::warn!("some lines of access logs were not written: what they go to stands still");
    }
    Ok(GOOD)
}

type Loaded = Result<(Configuration, Option<Example>), transom_config::Report>;

fn load(file: Option<&Path>, registry: &Registry, memory: &Memory) -> anyhow::Result<Loaded> {
    if let Some(file) = file {
        let loaded = check_file_with(file, registry, memory);
        return Ok(loaded.map(|configuration| (configuration, None)));
    }
    let example = Example::bind().context("the example's upstream could not be started")?;
    let configuration = check_str("the embedded example", &example.configuration(), registry);
    Ok(configuration.map(|configuration| (configuration, Some(example))))
}

/// The two lines that a person can try.
fn announce(proxy: &Proxy) {
    let Some(address) = proxy.address("ingress") else {
        return;
    };
    let lines = format!("curl -i -H 'User: admin' http://{address}/\ncurl -i http://{address}/\n");
    // Whoever started the program without a terminal does not need them.
    let _ = std::io::stdout().write_all(lines.as_bytes());
}

/// Uses what registries tell. What comes together is used together.
async fn follow_hosts(running: Arc<Running>) {
    loop {
        running.hosts_told().await;
        running.use_hosts().await;
        tokio::time::sleep(BETWEEN_HOSTS).await;
    }
}

/// Looks at files of TLS and asks certificate providers, beside what else is to be done: a provider may take its time.
fn look(running: &Arc<Running>) {
    let running = Arc::clone(running);
    tokio::spawn(async move { running.refresh_certificates().await });
}

/// Serves, and reloads when told, until it is told to end.
async fn until_end(signals: &mut Signals, running: &Arc<Running>) {
    let mut looks = tokio::time::interval(LOOK_AT_FILES);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::spawn(folders::follow(Arc::downgrade(running)));
    loop {
        tokio::select! {
            () = async { signals.hangup.recv().await; } => {}
            _ = looks.tick() => {
                look(running);
                continue;
            }
            () = running.certificates_told() => {
                look(running);
                continue;
            }
            () = wait_for_either(&mut signals.terminate, &mut signals.interrupt) => return,
        }
        match running.reload().await {
            Ok(()) => tracing::info!("the configuration was reloaded"),
            Err(error) => tracing::error!(
                "the configuration was not reloaded, the one before stays active:\n{error}"
            ),
        }
    }
}

/// SIGUSR1 has the files of access logs opened again, whatever else is under way.
fn reopen_on_signal(logs: Logs) -> anyhow::Result<()> {
    let mut user1 = signal(SignalKind::user_defined1()).context("signals cannot be received")?;
    tokio::spawn(async move {
        while user1.recv().await.is_some() {
            logs.reopen();
        }
    });
    Ok(())
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn end(&mut self) {
        wait_for_either(&mut self.terminate, &mut self.interrupt).await;
    }
}

async fn wait_for_either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
