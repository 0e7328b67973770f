//! A new version of a plugin takes over from the old one, if it does well.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::group::Group;
use super::load::Counts;
use super::plugin::{Plugin, lock};
use super::spec::Swap;

/// How often it is looked how the new version does.
const LOOK: Duration = Duration::from_millis(100);

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
        if !self.is_enabled() || self.is_stopping() {
            return Err("the plugin is disabled: enable it first".to_owned());
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
        tokio::spawn(watch(Arc::downgrade(self), candidate));
        Ok(said)
    }

    /// Ends the new version, if a swap is under way.
    pub(super) async fn roll_back(&self, why: &str) {
        let candidate = {
            let mut groups = lock(&self.groups);
            let Some(candidate) = groups.candidate.take() else {
                return;
            };
            groups.swapping = Swapping::RolledBack(why.to_owned());
            groups.retired.add(&candidate.load.counts());
            candidate
        };
        tracing::warn!(plugin = self.name(), "the old version stays: {why}");
        // Its instances are withdrawn first: without a candidate they would be like the others.
        candidate.end();
        candidate.ended().await;
        // Unless the next swap has begun.
        if lock(&self.groups).candidate.is_none() {
            self.shared.set_candidate(0);
        }
    }

    /// Gives all calls to the new version, and ends the old one.
    async fn promote(&self, candidate: &Arc<Group>) {
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

    fn is_candidate(&self, group: &Arc<Group>) -> bool {
        let groups = lock(&self.groups);
        groups
            .candidate
            .as_ref()
            .is_some_and(|one| Arc::ptr_eq(one, group))
    }
}

/// Watches the new version until it is decided.
async fn watch(plugin: Weak<Plugin>, candidate: Arc<Group>) {
    let begun = Instant::now();
    let before = plugin
        .upgrade()
        .map(|plugin| plugin.current().load.counts());
    let before = before.unwrap_or_default();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(plugin) = plugin.upgrade() else {
            return;
        };
        if !plugin.is_candidate(&candidate) || plugin.is_stopping() {
            return;
        }
        let rules = &plugin.spec().swap;
        let old = plugin.current().load.counts().since(&before);
        let ended = candidate.reports.iter().any(|report| {
            let facts = report.facts();
            facts.restarts > 0 || facts.last.is_some()
        });
        let verdict = match ended {
            true => Verdict::Worse("a process of the new version ended".to_owned()),
            false => compare(rules, &old, &candidate.load.counts()),
        };
        match verdict {
            Verdict::Worse(why) => return plugin.roll_back(&why).await,
            Verdict::Good if begun.elapsed() >= rules.watch => {
                return plugin.promote(&candidate).await;
            }
            Verdict::Good => {}
        }
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Good,
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
