//! One process after another: the supervisor proper.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::child::{Child, cgroup_of};
use super::error::StartError;
use super::group::Wanted;
use super::instance::{Instance, Parts};
use super::load::Load;
use super::output::Output;
use super::plugin::{Shared, lock};
use super::restarts::{Next, Restarts};
use super::state::State;
use super::usage::{self, Usage};
use crate::launch::Cgroup;

/// How often it is looked whether calls time out, and, where there is a bound, how much memory is used.
const LOOK: Duration = Duration::from_millis(250);

/// How often it is looked how much memory is used where there is no bound.
const LOOK_UNBOUNDED: Duration = Duration::from_secs(1);

/// Keeps one process of a plugin running.
pub(super) struct Slot {
    shared: Arc<Shared>,
    group: u64,
    load: Arc<Load>,
    report: Arc<Report>,
    wanted: watch::Receiver<Wanted>,
    restarts: Restarts,
    /// Told once, how the first attempt went.
    first: Option<mpsc::Sender<Result<(), StartError>>>,
    /// The order that was obeyed last.
    obeyed: Wanted,
}

/// A slot as others see it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) output: Arc<Output>,
    facts: Mutex<Facts>,
    done: watch::Sender<(u64, Option<String>)>,
}

/// What is known of a slot.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) state: State,
    pub(super) number: u64,
    pub(super) pid: Option<u32>,
    pub(super) version: i32,
    pub(super) since: Option<Instant>,
    pub(super) in_flight: u32,
    /// Starts after the first.
    pub(super) restarts: u64,
    /// Why it ended, or did not start, the last time.
    pub(super) last: Option<String>,
    pub(super) next: Option<Instant>,
    pub(super) usage: Usage,
    /// CPU time of processes that have ended.
    pub(super) spent: Duration,
    pub(super) failed_checks: u64,
    pub(super) cgroup: Option<Granted>,
}

/// What a cgroup holds of the bounds.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) path: String,
    pub(super) held: Vec<&'static str>,
    pub(super) missing: Vec<&'static str>,
}

/// A process that is published.
struct Running {
    child: Arc<Child>,
    /// Whatever is left in it ends with this.
    cgroup: Option<Cgroup>,
    instance: Arc<Instance>,
    since: Instant,
    restart: u64,
}

/// Why a process is left.
enum Why {
    Ended,
    Unwell(String),
    TooLarge(String),
    Restart,
    Unwanted,
}

impl Slot {
    pub(super) fn new(
        shared: Arc<Shared>,
        group: u64,
        load: Arc<Load>,
        report: Arc<Report>,
        wanted: watch::Receiver<Wanted>,
        first: mpsc::Sender<Result<(), StartError>>,
    ) -> Self {
        let obeyed = *wanted.borrow();
        Self {
            restarts: Restarts::new(shared.spec.restart.clone()),
            shared,
            group,
            load,
            report,
            wanted,
            first: Some(first),
            obeyed,
        }
    }

    pub(super) async fn run(mut self) {
        while self.enabled().await {
            let running = match self.start().await {
                Ok(running) => running,
                Err(StartError::Stopped) => continue,
                Err(error) => {
                    self.failed(error).await;
                    continue;
                }
            };
            self.tell_first(Ok(()));
            self.done(None);
            self.serve(running).await;
        }
    }

    /// Waits until it may run; false when it shall end.
    async fn enabled(&mut self) -> bool {
        loop {
            let wanted = *self.wanted.borrow_and_update();
            if wanted.stop {
                return false;
            }
            if wanted.enabled {
                if wanted.order != self.obeyed.order {
                    // Somebody asked for it.
                    self.restarts.forgive();
                }
                self.obeyed = wanted;
                return true;
            }
            self.obeyed = wanted;
            self.report.change(|facts| facts.state = State::Disabled);
            self.tell_first(Ok(()));
            self.done(None);
            if self.wanted.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Starts a process and publishes it.
    async fn start(&mut self) -> Result<Running, StartError> {
        self.report.change(|facts| {
            // Beside one that runs, the slot is as that one is.
            if facts.pid.is_none() {
                facts.state = State::Starting;
            }
            facts.next = None;
        });
        let shared = Arc::clone(&self.shared);
        let output = Arc::clone(&self.report.output);
        let restart = self.wanted.borrow().restart;
        let cgroup = cgroup_of(&shared.name, &shared.spec, &shared.place)?;
        let child = {
            let starting = Child::start(&shared.spec, &shared.place, &output, cgroup.as_ref());
            tokio::select! {
                biased;
                child = starting => child?,
                () = unwanted(&mut self.wanted) => return Err(StartError::Stopped),
            }
        };
        let instance = Arc::new(Instance::new(Parts {
            number: shared.number(),
            group: self.group,
            pid: child.pid(),
            version: child.version(),
            channel: child.channel(),
            connector: child.connector(),
            load: Arc::clone(&self.load),
        }));
        let running = Running {
            child: Arc::new(child),
            cgroup,
            instance,
            since: Instant::now(),
            restart,
        };
        self.report.change(|facts| {
            facts.restarts += u64::from(facts.number != 0);
            facts.state = State::Ready;
            facts.number = running.instance.number();
            facts.pid = Some(running.instance.pid());
            facts.version = running.instance.version();
            facts.since = Some(running.since);
            facts.spent += facts.usage.cpu;
            facts.usage = Usage::default();
            facts.cgroup = running.cgroup.as_ref().map(|group| Granted {
                path: group.path().display().to_string(),
                held: group.held.clone(),
                missing: group.missing.clone(),
            });
        });
        tracing::info!(
            plugin = &*shared.name,
            pid = running.instance.pid(),
            "plugin is ready"
        );
        shared.publish(Arc::clone(&running.instance));
        self.withdraw_at_end(&running);
        Ok(running)
    }

    /// Takes an instance away at the moment that its process ends, whatever the slot does then.
    fn withdraw_at_end(&self, running: &Running) {
        let shared = Arc::clone(&self.shared);
        let child = Arc::clone(&running.child);
        let instance = Arc::clone(&running.instance);
        tokio::spawn(async move {
            child.ended().await;
            instance.set_gone();
            shared.withdraw(instance.number());
        });
    }

    /// It did not start: waits until it may be tried again.
    async fn failed(&mut self, error: StartError) {
        let text = error.to_string();
        tracing::warn!(plugin = &*self.shared.name, %error, "plugin does not start");
        self.tell_first(Err(error));
        self.report.change(|facts| {
            facts.pid = None;
            facts.since = None;
            facts.last = Some(text.clone());
        });
        self.pause(None, text).await;
    }

    /// Waits as long as the back-off says, or until something else is wanted.
    async fn pause(&mut self, lived: Option<Duration>, why: String) {
        let next = self.restarts.ended(lived, Instant::now());
        self.rest(next, why).await;
    }

    async fn rest(&mut self, next: Next, why: String) {
        match next {
            Next::After(Duration::ZERO) => {}
            Next::After(pause) => {
                self.report.change(|facts| {
                    facts.state = State::BackingOff;
                    facts.next = Some(Instant::now() + pause);
                });
                self.done(Some(why));
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.ordered() => {}
                }
            }
            Next::GiveUp => {
                self.report.change(|facts| facts.state = State::Failed);
                tracing::error!(
                    plugin = &*self.shared.name,
                    "plugin ended too often and is given up: POST /api/v1/plugins/{}/enable starts it again",
                    self.shared.name
                );
                self.done(Some(why));
                self.ordered().await;
            }
        }
    }

    /// Resolves when something new is wanted.
    async fn ordered(&mut self) {
        let obeyed = self.obeyed;
        // An error means that the plugin is gone, which is something new as well.
        let _ = self
            .wanted
            .wait_for(|wanted| wanted.order != obeyed.order || wanted.stop)
            .await;
    }

    /// Watches a process, and those that replace it without a gap, until there is none.
    async fn serve(&mut self, mut running: Running) {
        loop {
            let why = self.watch(&running).await;
            let lived = running.since.elapsed();
            match why {
                Why::Ended => {
                    self.leave(&running);
                    let next = self.restarts.ended(Some(lived), Instant::now());
                    let telling = self.tell_how_it_ended(&running);
                    if next == Next::After(Duration::ZERO) {
                        // What it said last may still be on its way; the next process does not wait for that.
                        tokio::spawn(telling);
                        return;
                    }
                    let text = telling.await;
                    return self.rest(next, text).await;
                }
                Why::Unwell(text) => {
                    self.leave(&running);
                    tracing::warn!(
                        plugin = &*self.shared.name,
                        pid = running.instance.pid(),
                        "plugin is started again: {text}"
                    );
                    self.report.change(|facts| facts.last = Some(text.clone()));
                    let stopping = self.stopping(running, false);
                    self.end(stopping).await;
                    return self.pause(Some(lived), text).await;
                }
                Why::TooLarge(text) => {
                    tracing::warn!(
                        plugin = &*self.shared.name,
                        pid = running.instance.pid(),
                        "plugin is started again: {text}"
                    );
                    self.report.change(|facts| facts.last = Some(text.clone()));
                    if lived < self.shared.spec.restart.longest || !self.shared.can_overlap() {
                        self.leave(&running);
                        let stopping = self.stopping(running, false);
                        self.end(stopping).await;
                        return self.pause(Some(lived), text).await;
                    }
                    match self.replace(running).await {
                        Ok(next) => running = next,
                        Err(old) => {
                            self.leave(&old);
                            let stopping = self.stopping(old, false);
                            self.end(stopping).await;
                            return self.pause(None, text).await;
                        }
                    }
                }
                Why::Restart => {
                    self.obeyed = *self.wanted.borrow();
                    self.restarts.forgive();
                    if !self.shared.can_overlap() {
                        self.leave(&running);
                        self.stopping(running, true).await;
                        return;
                    }
                    match self.replace(running).await {
                        Ok(next) => {
                            self.done(None);
                            running = next;
                        }
                        Err(mut old) => {
                            // The old one stays, and is not tried to be replaced again for the same order.
                            old.restart = self.wanted.borrow().restart;
                            self.done(self.report.facts().last);
                            running = old;
                        }
                    }
                }
                Why::Unwanted => {
                    self.report.change(|facts| facts.state = State::Draining);
                    self.withdraw(&running);
                    self.stopping(running, true).await;
                    self.report.left();
                    return;
                }
            }
        }
    }

    /// A new process, and the old one ends when that is ready; or the old one back.
    async fn replace(&mut self, old: Running) -> Result<Running, Running> {
        match self.start().await {
            Ok(next) => {
                self.withdraw(&old);
                tokio::spawn(self.stopping(old, true));
                Ok(next)
            }
            Err(error) => {
                tracing::warn!(
                    plugin = &*self.shared.name,
                    %error,
                    "plugin does not start anew, the old process stays"
                );
                self.report
                    .change(|facts| facts.last = Some(error.to_string()));
                Err(old)
            }
        }
    }

    /// A process that is not well ends in the background, unless the next one needs its place.
    async fn end(&self, stopping: impl Future<Output = ()> + Send + 'static) {
        if self.shared.can_overlap() {
            tokio::spawn(stopping);
        } else {
            stopping.await;
        }
    }

    /// Lets calls end if asked to, then the process.
    fn stopping(&self, running: Running, drain: bool) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            if drain {
                shared.drain(&running.instance).await;
            }
            running.child.stop(shared.spec.stop_timeout).await;
        }
    }

    fn withdraw(&self, running: &Running) {
        running.instance.set_state(State::Draining);
        self.shared.withdraw(running.instance.number());
    }

    fn leave(&self, running: &Running) {
        self.withdraw(running);
        self.report.left();
    }

    /// Says in log and report how a process ended.
    fn tell_how_it_ended(
        &self,
        running: &Running,
    ) -> impl Future<Output = String> + Send + 'static {
        let (shared, report) = (Arc::clone(&self.shared), Arc::clone(&self.report));
        let (child, pid) = (Arc::clone(&running.child), running.instance.pid());
        // Its group goes with it.
        let group = running.cgroup.as_ref();
        let ran_out = group.is_some_and(Cgroup::ran_out_of_memory);
        async move {
            let mut text = how_it_ended(child).await;
            if ran_out {
                text.push_str(": the kernel ended it at its bound of memory");
            }
            tracing::warn!(plugin = &*shared.name, pid, "plugin ended: {text}");
            report.change(|facts| facts.last = Some(text.clone()));
            text
        }
    }

    /// Watches a process until it is to be left.
    async fn watch(&mut self, running: &Running) -> Why {
        let shared = Arc::clone(&self.shared);
        let rules = &shared.spec.health;
        let instance = &running.instance;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = 0;
        let mut good = 0;
        let mut is_hurried = false;
        let mut check = pin!(check(running, rules.interval, rules.timeout));
        let pause = match shared.spec.memory {
            Some(_) => LOOK,
            None => LOOK_UNBOUNDED,
        };
        let mut used = pin!(used(instance.pid(), LOOK));
        loop {
            let wanted = *self.wanted.borrow_and_update();
            if wanted.stop || !wanted.enabled {
                return Why::Unwanted;
            }
            if wanted.restart > running.restart {
                return Why::Restart;
            }
            if wanted.order != self.obeyed.order {
                // It was asked to run, and does.
                self.obeyed = wanted;
                self.done(None);
            }
            tokio::select! {
                biased;
                () = running.child.ended() => return Why::Ended,
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return Why::Unwanted;
                    }
                }
                result = &mut check => {
                    match result {
                        Ok(()) => {
                            failed = 0;
                            good += 1;
                            if good >= rules.healthy && instance.state() == State::Degraded {
                                instance.forgive_timeouts();
                                self.is(instance, State::Ready);
                            }
                        }
                        Err(why) => {
                            good = 0;
                            failed += 1;
                            self.report.change(|facts| facts.failed_checks += 1);
                            if failed >= rules.unhealthy {
                                return Why::Unwell(format!("{failed} health checks in a row failed, the last one: {why}"));
                            }
                            self.is(instance, State::Degraded);
                        }
                    }
                    is_hurried = false;
                    // One that is not well is asked more often.
                    let pause = match instance.state() {
                        State::Ready => rules.interval,
                        _ => rules.interval.min(Duration::from_secs(1)),
                    };
                    check.set(self::check(running, pause, rules.timeout));
                }
                usage = &mut used => {
                    if let Some(why) = usage.and_then(|usage| self.too_large(usage)) {
                        return why;
                    }
                    used.set(self::used(instance.pid(), pause));
                }
                _ = looks.tick() => {
                    if let Some(why) = self.look(running) {
                        return why;
                    }
                    // Workers doubt it: it is asked now.
                    if instance.state() == State::Degraded && !is_hurried && failed == 0 {
                        is_hurried = true;
                        self.is(instance, State::Degraded);
                        let soon = rules.interval.min(Duration::from_millis(1));
                        check.set(self::check(running, soon, rules.timeout));
                    }
                }
            }
        }
    }

    /// Looks at what can be seen without asking the plugin.
    fn look(&self, running: &Running) -> Option<Why> {
        let spec = &self.shared.spec;
        let instance = &running.instance;
        let timeouts = instance.timeouts_in_a_row();
        if spec.health.timeouts > 0 {
            if timeouts >= spec.health.timeouts {
                return Some(Why::Unwell(format!(
                    "{timeouts} calls in a row were not answered in time"
                )));
            }
            if timeouts > 0 && timeouts >= spec.health.timeouts.div_ceil(4) {
                self.is(instance, State::Degraded);
            }
        }
        let in_flight = instance.in_flight();
        self.report.change(|facts| facts.in_flight = in_flight);
        None
    }

    fn too_large(&self, usage: Usage) -> Option<Why> {
        self.report.change(|facts| facts.usage = usage);
        let bound = self.shared.spec.memory;
        let bound = bound.filter(|bound| usage.memory > *bound)?;
        Some(Why::TooLarge(format!(
            "it uses {} bytes of memory, and may use {bound}",
            usage.memory
        )))
    }

    fn is(&self, instance: &Instance, state: State) {
        instance.set_state(state);
        self.report.change(|facts| facts.state = state);
    }

    fn tell_first(&mut self, result: Result<(), StartError>) {
        if let Some(first) = self.first.take() {
            // There is room for each slot's one word; a receiver that is gone does not want to know.
            let _ = first.try_send(result);
        }
    }

    fn done(&self, error: Option<String>) {
        self.report.done.send_replace((self.obeyed.order, error));
    }
}

async fn how_it_ended(child: Arc<Child>) -> String {
    // Whatever holds its pipes open must not hold up the next one.
    const LAST_WORDS: Duration = Duration::from_millis(20);
    match timeout(LAST_WORDS, child.exit()).await {
        Ok(exit) => {
            let crash = exit.crash.as_deref().and_then(|crash| crash.lines().next());
            match crash {
                Some(crash) => format!("{exit}: {crash}"),
                None => exit.to_string(),
            }
        }
        Err(_) => {
            // Keeps the child until its pipes are read.
            tokio::spawn(async move { child.exit().await });
            "it ended, and something that it started holds its output open".to_owned()
        }
    }
}

/// Asks after a pause whether a process is well; never, without an interval.
async fn check(running: &Running, pause: Duration, limit: Duration) -> Result<(), String> {
    if pause.is_zero() {
        return std::future::pending().await;
    }
    sleep(pause).await;
    timeout(limit, running.child.ping())
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

/// What a process uses, after a pause. Of one with many threads that are many small files: they are read on a thread for such work.
async fn used(pid: u32, pause: Duration) -> Option<Usage> {
    sleep(pause).await;
    let read = tokio::task::spawn_blocking(move || usage::of(pid));
    read.await.ok().flatten()
}

/// Resolves when the plugin shall not run.
async fn unwanted(wanted: &mut watch::Receiver<Wanted>) {
    let _ = wanted
        .wait_for(|wanted| wanted.stop || !wanted.enabled)
        .await;
}

impl Report {
    pub(super) fn new(output: Arc<Output>) -> Self {
        Self {
            output,
            facts: Mutex::new(Facts {
                state: State::Starting,
                number: 0,
                pid: None,
                version: 0,
                since: None,
                in_flight: 0,
                restarts: 0,
                last: None,
                next: None,
                usage: Usage::default(),
                spent: Duration::ZERO,
                failed_checks: 0,
                cgroup: None,
            }),
            done: watch::Sender::new((0, None)),
        }
    }

    pub(super) fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    pub(super) fn state(&self) -> State {
        lock(&self.facts).state
    }

    /// Waits until the slot has done what was ordered, or has found that it cannot.
    pub(super) async fn done(&self, order: u64) -> Result<(), String> {
        let mut done = self.done.subscribe();
        match done.wait_for(|(obeyed, _)| *obeyed >= order).await {
            Ok(done) => done.1.clone().map_or(Ok(()), Err),
            Err(_) => Ok(()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut lock(&self.facts));
    }

    /// The process is none of the slot's any more.
    fn left(&self) {
        self.change(|facts| {
            facts.pid = None;
            facts.since = None;
            facts.in_flight = 0;
            facts.spent += facts.usage.cpu;
            facts.usage = Usage::default();
        });
    }
}
