//! A new version of a plugin takes over from the old one, if it does well.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::group::Group;
use super::load::Counts;
use super::plugin::{Plugin, lock};
use super::spec::Swap;

/// How often it is looked how the new version does.
const LOOK: Duration = Duration::from_millis(100);

/// How long after it was watched a new version may still take to prepare its uses.
const UNREADY: Duration = Duration::from_secs(30);

/// How the last swap went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Swapping {
    /// There was none.
    #[default]
    Never,
    /// The new version runs beside the old one.
    Watched,
    /// The new version took over.
    Promoted,
    /// The old version has all calls again; why.
    RolledBack(String),
}

impl Plugin {
    /// Starts what lies on disk now beside the processes that run. When that is ready it gets the share of calls that the [`Swap`] says;
    /// after a while, in which it did no worse than the old version, it gets all of them, and the old version drains and ends. If it does
    /// worse, or ends, it goes, and the old version has all calls again.
    ///
    /// Resolves when the new version is ready; an error says why it is not, and then nothing has changed.
    pub async fn swap(self: &Arc<Self>) -> Result<String, String> {
        if self.fallback().is_some() {
            return Err("the declared version was rolled back: declare another one".to_owned());
        }
        if !self.is_enabled() || self.is_stopping() {
            return Err("the plugin is disabled: enable it first".to_owned());
        }
        if lock(&self.older).is_some() {
            return Err("a swap is under way: wait for its end".to_owned());
        }
        if !self.shared.can_overlap() {
            self.restart().await?;
            return Ok(
                "it was started anew: two of a plugin with one address, or without a protocol, cannot run side by side"
                    .to_owned(),
            );
        }
        let candidate = Group::prepare(&self.shared, true);
        {
            let mut groups = lock(&self.groups);
            if groups.candidate.is_some() {
                return Err("a swap is under way: wait for its end".to_owned());
            }
            groups.candidate = Some(Arc::clone(&candidate));
            groups.swapping = Swapping::Watched;
            self.shared.set_candidate(candidate.number);
        }
        if let Err(error) = candidate.run(&self.shared).await {
            self.roll_back(&error.to_string()).await;
            return Err(error.to_string());
        }
        let rules = &self.spec().swap;
        let said = format!(
            "the new version is ready, gets {} % of the calls and is watched for {:?}",
            rules.share, rules.watch
        );
        Trial::begin(self, candidate, self.current());
        Ok(said)
    }

    /// Gets a share of the older version's calls, and all of them when it did no worse for a while; if it does worse, it ends, and the older
    /// version has all calls for as long as this one is declared. Only where [`Swap::on_reload`] says so, and both can run side by side.
    pub(super) fn take_over_from(self: &Arc<Self>, older: &Arc<Self>) {
        // One that has not taken over itself has the calls from somebody else.
        let older = lock(&older.older)
            .clone()
            .unwrap_or_else(|| Arc::clone(older));
        let may = self.spec().swap.on_reload
            && self.spec().protocol == older.spec().protocol
            && self.shared.can_overlap()
            && older.shared.can_overlap()
            && older.is_enabled()
            && !older.is_stopping();
        if !may {
            return;
        }
        let new = self.current();
        lock(&self.groups).swapping = Swapping::Watched;
        self.shared.set_candidate(new.number);
        *lock(&self.older) = Some(Arc::clone(&older));
        self.adopt();
        tokio::spawn(follow(Arc::downgrade(self), older.changes()));
        Trial::begin(self, new, older.current());
    }

    /// The older version, where it has all calls because this one did worse.
    pub(super) fn fallback(&self) -> Option<Arc<Self>> {
        let older = lock(&self.older).clone()?;
        let groups = lock(&self.groups);
        matches!(groups.swapping, Swapping::RolledBack(_)).then_some(older)
    }

    /// Publishes the older version's instances among its own, as long as that has calls. Whether it has.
    fn adopt(&self) -> bool {
        let older = lock(&self.older);
        let theirs = older.as_ref().map(|older| older.instances());
        self.shared.change(|instances| {
            instances.retain(|instance| self.owns(instance));
            instances.extend(theirs.iter().flat_map(|theirs| theirs.iter().cloned()));
        });
        theirs.is_some()
    }

    /// Ends the new version, if a swap is under way.
    pub(super) async fn roll_back(&self, why: &str) {
        let is_newest = lock(&self.older).is_some();
        let candidate = {
            let mut groups = lock(&self.groups);
            let on_trial = is_newest && groups.swapping == Swapping::Watched;
            let candidate = groups.candidate.take();
            let Some(candidate) =
                candidate.or_else(|| on_trial.then(|| Arc::clone(&groups.current)))
            else {
                return;
            };
            groups.swapping = Swapping::RolledBack(why.to_owned());
            if !Arc::ptr_eq(&candidate, &groups.current) {
                groups.retired.add(&candidate.load.counts());
            }
            candidate
        };
        tracing::warn!(plugin = self.name(), "the old version stays: {why}");
        // Its instances are withdrawn first: without a candidate they would be like the others.
        candidate.end();
        candidate.ended().await;
        // Unless the next swap has begun, or there is nothing of its own to go back to.
        if !is_newest && lock(&self.groups).candidate.is_none() {
            self.shared.set_candidate(0);
        }
    }

    /// Gives all calls to the new version, and ends the old one.
    async fn promote(&self, candidate: &Arc<Group>) {
        if lock(&self.older).take().is_some() {
            lock(&self.groups).swapping = Swapping::Promoted;
            self.shared.set_candidate(0);
            // The older version ends when the last stream of a configuration that has it is over.
            self.adopt();
            tracing::info!(plugin = self.name(), "the new version took over");
            return;
        }
        let old = {
            let mut groups = lock(&self.groups);
            if !groups
                .candidate
                .as_ref()
                .is_some_and(|one| Arc::ptr_eq(one, candidate))
            {
                return;
            }
            groups.candidate = None;
            groups.swapping = Swapping::Promoted;
            let old = std::mem::replace(&mut groups.current, Arc::clone(candidate));
            groups.retired.add(&old.load.counts());
            self.shared.set_candidate(0);
            old
        };
        tracing::info!(plugin = self.name(), "the new version took over");
        old.end();
        old.ended().await;
    }

    fn is_on_trial(&self, group: &Arc<Group>) -> bool {
        let groups = lock(&self.groups);
        let new = groups.candidate.as_ref().unwrap_or(&groups.current);
        groups.swapping == Swapping::Watched && Arc::ptr_eq(new, group)
    }
}

/// Keeps up with the older version's instances.
async fn follow(plugin: Weak<Plugin>, mut changes: watch::Receiver<u64>) {
    // An error: the older version is gone, and so are its instances.
    while changes.changed().await.is_ok() {
        let Some(plugin) = plugin.upgrade() else {
            return;
        };
        if !plugin.adopt() {
            return;
        }
    }
}

/// A new version beside an old one, until it is decided which has the calls.
struct Trial {
    plugin: Weak<Plugin>,
    new: Arc<Group>,
    old: Arc<Group>,
    /// What the old one had counted when it began.
    before: Counts,
    begun: Instant,
}

impl Trial {
    fn begin(plugin: &Arc<Plugin>, new: Arc<Group>, old: Arc<Group>) {
        let trial = Self {
            plugin: Arc::downgrade(plugin),
            new,
            before: old.load.counts(),
            old,
            begun: Instant::now(),
        };
        tokio::spawn(trial.run());
    }

    async fn run(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(plugin) = self.plugin.upgrade() else {
                return;
            };
            if !plugin.is_on_trial(&self.new) || plugin.is_stopping() {
                return;
            }
            match self.verdict(&plugin) {
                Verdict::Worse(why) => return plugin.roll_back(&why).await,
                Verdict::Better => return plugin.promote(&self.new).await,
                Verdict::Good => {}
            }
        }
    }

    fn verdict(&self, plugin: &Plugin) -> Verdict {
        let rules = &plugin.spec().swap;
        let ended = self.new.reports.iter().any(|report| {
            let facts = report.facts();
            facts.restarts > 0 || facts.last.is_some()
        });
        if ended {
            return Verdict::Worse("a process of the new version ended".to_owned());
        }
        let instances = plugin.instances();
        let readiness = plugin.shared.readiness();
        let of = |group: &Arc<Group>| {
            let number = group.number;
            instances.iter().filter(move |it| it.group() == number)
        };
        let refusal = |group| of(group).find_map(|it| readiness.refusal(it.number()));
        if let Some(why) = refusal(&self.new) {
            return Verdict::Worse(why.to_owned());
        }
        let is_ready = of(&self.new).any(|it| readiness.has_all(it.number()));
        if is_ready && let Some(why) = refusal(&self.old) {
            // The configuration is the new version's, and the old one cannot serve it.
            tracing::warn!(
                plugin = plugin.name(),
                "the new version takes over at once: {why}"
            );
            return Verdict::Better;
        }
        let old = self.old.load.counts().since(&self.before);
        match compare(rules, &old, &self.new.load.counts()) {
            Verdict::Good if self.begun.elapsed() < rules.watch => Verdict::Good,
            Verdict::Good if is_ready => Verdict::Better,
            Verdict::Good if self.begun.elapsed() > rules.watch + UNREADY => Verdict::Worse(
                "the new version has not prepared all that the plugin is used for".to_owned(),
            ),
            verdict => verdict,
        }
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    /// Good so far.
    Good,
    /// It may have all calls.
    Better,
    Worse(String),
}

/// How the new version does beside the old one. Too few calls say nothing.
fn compare(rules: &Swap, old: &Counts, new: &Counts) -> Verdict {
    if new.calls < u64::from(rules.calls) {
        return Verdict::Good;
    }
    let (old_failures, new_failures) = (old.failures() * 100.0, new.failures() * 100.0);
    if new_failures > old_failures + rules.errors {
        return Verdict::Worse(format!(
            "{new_failures:.1} % of the new version's calls failed, and {old_failures:.1} % of the old one's"
        ));
    }
    if old.calls < u64::from(rules.calls) {
        return Verdict::Good;
    }
    match (old.quantile(0.5), new.quantile(0.5)) {
        (Some(old), Some(new)) if new.as_secs_f64() > old.as_secs_f64() * rules.latency => {
            Verdict::Worse(format!(
                "half of the new version's calls took {new:?} or longer, and of the old one's {old:?}"
            ))
        }
        _ => Verdict::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::Outcome;
    use crate::supervise::load::{InFlight, Load};

    fn counts(calls: u32, failed: u32, took: u64) -> Counts {
        let load = Load::new(Arc::new(InFlight::new(1)));
        for call in 0..calls {
            let outcome = match call < failed {
                true => Outcome::Error,
                false => Outcome::Ok,
            };
            load.end(outcome, Duration::from_micros(took));
        }
        load.counts()
    }

    #[test]
    fn errors_and_latency_decide() {
        let rules = Swap::default();
        let old = counts(1000, 10, 100);
        assert_eq!(compare(&rules, &old, &counts(1000, 10, 100)), Verdict::Good);
        assert_eq!(
            compare(&rules, &old, &counts(99, 99, 1)),
            Verdict::Good,
            "too few"
        );
        assert!(matches!(
            compare(&rules, &old, &counts(100, 3, 100)),
            Verdict::Worse(_)
        ));
        assert!(matches!(
            compare(&rules, &old, &counts(100, 0, 1000)),
            Verdict::Worse(_)
        ));
    }
}
