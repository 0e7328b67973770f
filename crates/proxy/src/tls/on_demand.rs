//! Certificates for names that clients ask for and nobody has published: made or fetched while the ClientHello waits.
//!
//! ```text
//! worker:   find(name) ── there ─▶ handshake        control side:   one task; per name one question, whoever waits
//!              └ not ─▶ Question ───── channel ────────▶ providers ─▶ checked ─▶ table (read without a lock)
//!              ◀──────────────── answered, or too late ──────────────────────────┘
//! ```
//!
//! A worker waits in the task of that one client, never in its loop.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use transom_api::{Counter, PrepareError};
use transom_config::OnDemand as Rules;

use super::certificate::Certificate;
use super::source::{PATIENCE, Source, patiently};
use crate::metrics::MetricStore;

/// A change of the table copies one of these parts: small enough for the control thread with 10,000 names and more.
const PARTS: usize = 64;

/// The certificates of names that were asked for.
pub(crate) struct OnDemand {
    rules: Rules,
    table: Arc<Table>,
    questions: mpsc::UnboundedSender<Question>,
}

/// What is counted, on the control side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DemandMetrics {
    pub(crate) found: Counter,
    pub(crate) none: Counter,
    pub(crate) failed: Counter,
    pub(crate) refused: Counter,
}

struct Question {
    name: Arc<str>,
    /// Dropped when there is an answer, or none will come.
    waiting: Option<oneshot::Sender<()>>,
}

/// Names with what was answered.
struct Table {
    parts: Vec<Part>,
    next_part: AtomicUsize,
    hasher: RandomState,
    len: AtomicUsize,
    most: usize,
    epoch: Instant,
}

type Part = ArcSwap<HashMap<Arc<str>, Arc<Entry>>>;

struct Entry {
    /// `None`: there is none.
    certificate: Option<Certificate>,
    /// Then it is asked for again.
    fresh_until: Instant,
    asked_again: AtomicBool,
    /// Milliseconds since the table's epoch.
    used: AtomicU64,
}

/// What is known of a name.
pub(super) enum Known {
    Certificate(Arc<CertifiedKey>),
    /// It was asked for, and there is none.
    Nothing,
    /// It was not asked for.
    Unknown,
}

impl OnDemand {
    /// Begins to answer questions by asking `sources`, until it is dropped.
    pub(super) fn start(
        rules: &Rules,
        sources: &[Arc<Source>],
        metrics: (Arc<MetricStore>, DemandMetrics),
    ) -> Arc<Self> {
        let (questions, asked) = mpsc::unbounded_channel();
        let table = Arc::new(Table::new(rules.max_names as usize));
        let answering = Answering {
            sources: sources
                .iter()
                .filter(|source| source.provider.answers_on_demand())
                .map(Arc::clone)
                .collect(),
            rules: rules.clone(),
            table: Arc::clone(&table),
            metrics,
        };
        tokio::spawn(answering.run(asked));
        Arc::new(Self {
            rules: rules.clone(),
            table,
            questions,
        })
    }

    /// Has a certificate for a name be there, if one can be had in time and the name may be asked for. The name is in lower
    /// case.
    pub(super) async fn wait_for(&self, name: &str) {
        if !self.allows(name) {
            return;
        }
        match self.find(name) {
            Known::Certificate(_) | Known::Nothing => {}
            Known::Unknown => {
                let (waiting, answered) = oneshot::channel();
                let question = Question {
                    name: Arc::from(name),
                    waiting: Some(waiting),
                };
                if self.questions.send(question).is_ok() {
                    // What became of it is in the table.
                    let _ = tokio::time::timeout(self.rules.timeout, answered).await;
                }
            }
        }
    }

    /// What is known of a name now, in lower case. Has it be asked for again when that is due.
    pub(super) fn find(&self, name: &str) -> Known {
        let now = Instant::now();
        let Some(entry) = self.table.find(name) else {
            return Known::Unknown;
        };
        let Some(certificate) = &entry.certificate else {
            return if now < entry.fresh_until {
                Known::Nothing
            } else {
                Known::Unknown
            };
        };
        if SystemTime::now() > certificate.validity.1 {
            return Known::Unknown;
        }
        entry.used.store(self.table.millis(now), Ordering::Relaxed);
        if now >= entry.fresh_until && !entry.asked_again.swap(true, Ordering::Relaxed) {
            // Nobody waits for it: what is there is good for a while.
            let _ = self.questions.send(Question {
                name: Arc::from(name),
                waiting: None,
            });
        }
        Known::Certificate(Arc::clone(&certificate.key))
    }

    /// Whether a name may be asked for.
    fn allows(&self, name: &str) -> bool {
        is_host_name(name) && self.rules.names.iter().any(|rule| fits(rule, name))
    }

    /// Whether it is what these would make.
    pub(super) fn is_of(&self, rules: &Rules) -> bool {
        self.rules == *rules
    }
}

/// Names come from strangers: only what can be one is looked up or asked for.
fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// `a.org` is itself, `*.a.org` all below it, `*` all.
fn fits(rule: &str, name: &str) -> bool {
    match rule.strip_prefix('*') {
        Some("") => true,
        Some(below) => name.len() > below.len() && name.ends_with(below),
        None => rule == name,
    }
}

/// The side that answers.
struct Answering {
    sources: Vec<Arc<Source>>,
    rules: Rules,
    table: Arc<Table>,
    metrics: (Arc<MetricStore>, DemandMetrics),
}

type Waiting = HashMap<Arc<str>, Vec<oneshot::Sender<()>>>;
type Answered = (Arc<str>, Result<Option<Certificate>, PrepareError>);

impl Answering {
    async fn run(self, mut asked: mpsc::UnboundedReceiver<Question>) {
        let mut waiting = Waiting::new();
        let mut running: JoinSet<Answered> = JoinSet::new();
        loop {
            tokio::select! {
                question = asked.recv() => match question {
                    Some(question) => self.take(question, &mut waiting, &mut running),
                    // Nobody can ask any more.
                    None => return,
                },
                Some(Ok((name, answer))) = running.join_next() => {
                    self.publish(&name, answer);
                    // Dropping wakes those who wait.
                    waiting.remove(&name);
                }
            }
        }
    }

    fn take(&self, question: Question, waiting: &mut Waiting, running: &mut JoinSet<Answered>) {
        if let Some(others) = waiting.get_mut(&question.name) {
            others.extend(question.waiting);
            return;
        }
        // Another answered it between the look at the table and now.
        let known = self.table.find(&question.name);
        if question.waiting.is_some() && known.is_some_and(|it| it.fresh_until > Instant::now()) {
            return;
        }
        if waiting.len() >= self.rules.max_pending as usize {
            let (store, metrics) = &self.metrics;
            store.control_shard().add(metrics.refused.0, 1);
            if let Some(entry) = self.table.find(&question.name) {
                entry.asked_again.store(false, Ordering::Relaxed);
            }
            return;
        }
        waiting.insert(
            Arc::clone(&question.name),
            question.waiting.into_iter().collect(),
        );
        let sources = self.sources.clone();
        let limit = self.rules.timeout.max(PATIENCE);
        running.spawn(async move {
            let answer = ask(&sources, &question.name, limit).await;
            (question.name, answer)
        });
    }

    fn publish(&self, name: &Arc<str>, answer: Result<Option<Certificate>, PrepareError>) {
        let (store, metrics) = &self.metrics;
        let now = Instant::now();
        let again = now + self.rules.retry_after;
        let counter = match &answer {
            Ok(Some(_)) => metrics.found,
            Ok(None) => metrics.none,
            Err(error) => {
                tracing::warn!(%name, %error, "a certificate that a client asked for could not be had");
                metrics.failed
            }
        };
        store.control_shard().add(counter.0, 1);
        let (certificate, fresh_until) = match answer {
            Ok(Some(certificate)) => {
                let left = certificate.renewal().duration_since(SystemTime::now());
                let fresh_until = now + left.unwrap_or(self.rules.retry_after);
                (Some(certificate), fresh_until)
            }
            Ok(None) => (None, again),
            // What is there is good until it expires.
            Err(_) => {
                let known = self.table.find(name);
                (known.and_then(|known| known.certificate.clone()), again)
            }
        };
        self.table.put(
            name,
            Entry {
                certificate,
                fresh_until,
                asked_again: AtomicBool::new(false),
                used: AtomicU64::new(self.table.millis(now)),
            },
        );
    }
}

/// Asks one provider after the other. An error counts only if none has a certificate.
async fn ask(
    sources: &[Arc<Source>],
    name: &Arc<str>,
    limit: Duration,
) -> Result<Option<Certificate>, PrepareError> {
    let mut failed = None;
    for source in sources {
        let provider = Arc::clone(&source.provider);
        let asked = name.to_string();
        let answer = patiently(limit, move || provider.certificate_for(asked)).await;
        let checked = match answer {
            Ok(Some(given)) => {
                let wanted = Arc::clone(name);
                let check = move || check(&given, &wanted);
                let checked = tokio::task::spawn_blocking(check).await;
                checked.unwrap_or_else(|_| Err("its certificate cannot be read".to_owned()))
            }
            Ok(None) => continue,
            Err(error) => Err(error.message),
        };
        match checked {
            Ok(certificate) => return Ok(Some(certificate)),
            Err(error) => {
                let message = format!("the certificate provider `{}`: {error}", source.name);
                failed.get_or_insert(PrepareError::new(message));
            }
        }
    }
    failed.map_or(Ok(None), Err)
}

fn check(given: &transom_api::Certificate, name: &str) -> Result<Certificate, String> {
    let checked = Certificate::of_provider(given, SystemTime::now())
        .map_err(|error| format!("its certificate cannot be used: {error}"))?;
    if !checked.is_for(name) {
        return Err("its certificate is for another name".to_owned());
    }
    Ok(checked)
}

impl Table {
    fn new(most: usize) -> Self {
        Self {
            parts: (0..PARTS).map(|_| ArcSwap::default()).collect(),
            next_part: AtomicUsize::new(0),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
            most,
            epoch: Instant::now(),
        }
    }

    fn find(&self, name: &str) -> Option<Arc<Entry>> {
        let part = self.part(name)?.load();
        part.get(name).map(Arc::clone)
    }

    /// Only the one task that answers calls this.
    fn put(&self, name: &Arc<str>, entry: Entry) {
        let Some(part) = self.part(name) else { return };
        let mut next = HashMap::clone(&part.load());
        let is_new = next.insert(Arc::clone(name), Arc::new(entry)).is_none();
        part.store(Arc::new(next));
        if is_new && self.len.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.evict(name);
        }
    }

    /// Removes the name that was not asked for the longest among those in some parts, another few each time: near enough,
    /// and short.
    fn evict(&self, new: &Arc<str>) {
        const LOOKED_AT: usize = 8;
        let first = self.next_part.fetch_add(LOOKED_AT, Ordering::Relaxed);
        let parts = self.parts.iter().cycle().skip(first % PARTS);
        let mut oldest: Option<(u64, &Part, Arc<str>)> = None;
        for (looked_at, part) in parts.take(PARTS).enumerate() {
            if looked_at >= LOOKED_AT && oldest.is_some() {
                break;
            }
            let entries = part.load();
            let others = entries.iter().filter(|(name, _)| *name != new);
            let candidate = others
                .map(|(name, entry)| (entry.used.load(Ordering::Relaxed), name))
                .min();
            if let Some((used, name)) = candidate
                && oldest.as_ref().is_none_or(|(least, ..)| used < *least)
            {
                oldest = Some((used, part, Arc::clone(name)));
            }
        }
        if let Some((_, part, name)) = oldest {
            let mut next = HashMap::clone(&part.load());
            next.remove(&name);
            part.store(Arc::new(next));
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn part(&self, name: &str) -> Option<&Part> {
        self.parts.get(self.hasher.hash_one(name) as usize % PARTS)
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_be_asked_for() {
        for (rule, name, good) in [
            ("a.test", "a.test", true),
            ("a.test", "b.a.test", false),
            ("*.a.test", "b.a.test", true),
            ("*.a.test", "c.b.a.test", true),
            ("*.a.test", "a.test", false),
            ("*.a.test", ".a.test", false),
            ("*.a.test", "xa.test", false),
            ("*", "any.test", true),
        ] {
            assert_eq!(
                fits(rule, name) && is_host_name(name),
                good,
                "{rule} {name}"
            );
        }
        for name in ["", "a b", "a..b", "ä.test", "a.test.", &"a.".repeat(200)] {
            assert!(!is_host_name(name), "{name}");
        }
    }

    #[test]
    fn the_table_keeps_to_its_bound_and_drops_what_was_not_used() {
        // So many that none of the parts that are looked at has nothing but the newest.
        const MOST: usize = 4_000;
        let table = Table::new(MOST);
        let entry = |used| Entry {
            certificate: None,
            fresh_until: table.epoch,
            asked_again: AtomicBool::new(false),
            used: AtomicU64::new(used),
        };
        let kept: Arc<str> = Arc::from("kept.test");
        table.put(&kept, entry(1_000_000));
        for number in 0..8_000 {
            table.put(&Arc::from(format!("{number}.test")), entry(number));
        }
        let count: usize = table.parts.iter().map(|part| part.load().len()).sum();
        assert_eq!(count, MOST);
        assert_eq!(table.len.load(Ordering::Relaxed), MOST);
        assert!(table.find("kept.test").is_some());
        assert!(table.find("7999.test").is_some());
    }
}
