//! A certificate provider in use: it is asked with patience, and what it gave last stays.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use transom_api::{
    CertificateProvider, Certificates, Changed, FailurePolicy, PrepareError, Provide,
};

use super::certificate::Certificate;
use super::files::TlsFileError;

/// How long one question to a provider may take. Who waits for a client has a limit of its own.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// A provider that failed is asked again after this, then twice, four times as long.
const FIRST_RETRY: Duration = Duration::from_secs(3);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A provider in use by a listener.
pub(crate) struct Source {
    pub(super) name: String,
    pub(super) provider: Arc<dyn CertificateProvider>,
    policy: FailurePolicy,
    told: Arc<AtomicBool>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    good: Arc<Good>,
    /// When it is to be asked again; `None` is when it tells.
    due: Option<Instant>,
    retry: Option<Duration>,
    /// Its last error, while it is failing.
    failing: Option<PrepareError>,
}

/// What a provider gave, checked.
#[derive(Default)]
pub(super) struct Good {
    pub(super) given: Option<Arc<Certificates>>,
    pub(super) certificates: Vec<Certificate>,
    /// How many of the warnings of their end were given.
    pub(super) warned: AtomicUsize,
}

/// What asking a provider brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing, or what was there before.
    None,
    /// Something else than before, and good.
    Some,
    /// It failed, and has told so before in the same words.
    StillFailing,
}

impl Source {
    /// A provider that is new. `wake` is told when the provider tells.
    pub(super) fn new(
        name: &str,
        provider: Arc<dyn CertificateProvider>,
        policy: FailurePolicy,
        wake: Arc<Notify>,
    ) -> Arc<Self> {
        let told = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&told);
        provider.watch(Changed::new(move || {
            tell.store(true, Ordering::Release);
            wake.notify_one();
        }));
        Arc::new(Self {
            name: name.to_owned(),
            provider,
            policy,
            told,
            asking: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        })
    }

    /// What it gave last that could be used.
    pub(super) fn good(&self) -> Arc<Good> {
        Arc::clone(&self.lock().good)
    }

    /// Why it has given nothing that could be used since.
    pub(super) fn failing(&self) -> Option<PrepareError> {
        self.lock().failing.clone()
    }

    /// Whether a listener may do without what it has.
    pub(super) fn may_fail(&self) -> bool {
        self.policy == FailurePolicy::Open
    }

    /// Whether it is time to ask.
    pub(super) fn is_due(&self) -> bool {
        let due = self.lock().due;
        self.told.load(Ordering::Acquire) || due.is_some_and(|due| Instant::now() >= due)
    }

    /// Asks it. What it gave before stays when it fails; an error is new in its words.
    pub(super) async fn ask(&self) -> Result<News, PrepareError> {
        let _one_at_a_time = self.asking.lock().await;
        // Before it is asked: what it tells meanwhile is another reason to ask.
        self.told.store(false, Ordering::Release);
        let provider = Arc::clone(&self.provider);
        let answer = patiently(PATIENCE, move || provider.certificates()).await;
        let before = self.good();
        let checked = match answer {
            Ok(given) if before.given.as_ref().is_some_and(|it| same(it, &given)) => {
                return Ok(self.note_good(&given, None));
            }
            Ok(given) => {
                let checking = Arc::clone(&given);
                let checked = tokio::task::spawn_blocking(move || check(&checking)).await;
                let checked = checked.unwrap_or_else(|_| Err("they cannot be read".to_owned()));
                checked
                    .map(|certificates| (given, certificates))
                    .map_err(PrepareError::new)
            }
            Err(error) => Err(error),
        };
        match checked {
            Ok((given, certificates)) => Ok(self.note_good(&given, Some(certificates))),
            Err(error) => self.note_failure(error),
        }
    }

    fn note_good(&self, given: &Arc<Certificates>, new: Option<Vec<Certificate>>) -> News {
        let mut state = self.lock();
        state.due = given.refresh_after.map(|after| Instant::now() + after);
        state.retry = None;
        state.failing = None;
        let Some(certificates) = new else {
            return News::None;
        };
        state.good = Arc::new(Good {
            given: Some(Arc::clone(given)),
            certificates,
            warned: AtomicUsize::new(0),
        });
        News::Some
    }

    fn note_failure(&self, error: PrepareError) -> Result<News, PrepareError> {
        let mut state = self.lock();
        let given = state.good.given.as_ref();
        let cheap = given.is_some_and(|given| given.refresh_after == Some(Duration::ZERO));
        let retry = state
            .retry
            .map_or(FIRST_RETRY, |last| (last * 2).min(LAST_RETRY));
        state.retry = Some(retry);
        // Who wants to be asked at every look looks at files: that is cheap also when they are bad.
        let pause = if cheap { Duration::ZERO } else { retry };
        state.due = Some(Instant::now() + pause);
        let known = state.failing.replace(error.clone());
        if known.is_some_and(|known| known.message == error.message) {
            return Ok(News::StillFailing);
        }
        Err(error)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a provider in a task of its own: one that panics or takes for ever is an error. The task ends with whoever waits for it.
pub(super) async fn patiently<T: Send + 'static>(
    limit: Duration,
    ask: impl FnOnce() -> Provide<T> + Send + 'static,
) -> Result<T, PrepareError> {
    let mut asked = JoinSet::new();
    asked.spawn(async move { ask().await });
    match tokio::time::timeout(limit, asked.join_next()).await {
        Ok(Some(Ok(answer))) => answer,
        Ok(_) => Err(PrepareError::new("it panicked")),
        Err(_) => Err(PrepareError::new(format!(
            "it did not answer within {} s",
            limit.as_secs()
        ))),
    }
}

fn same(before: &Arc<Certificates>, now: &Arc<Certificates>) -> bool {
    Arc::ptr_eq(before, now)
        || (before.certificates == now.certificates && before.authorities == now.authorities)
}

fn check(given: &Certificates) -> Result<Vec<Certificate>, String> {
    let now = SystemTime::now();
    let given = given.certificates.iter().enumerate();
    given
        .map(|(index, given)| {
            Certificate::of_provider(given, now)
                .map_err(|error| format!("its certificate {} cannot be used: {error}", index + 1))
        })
        .collect()
}

impl Source {
    /// Its error in the words of whoever configured it.
    pub(super) fn told(&self, error: PrepareError) -> TlsFileError {
        let message = match error.span {
            // It names its own place, and there its cause.
            Some(_) => error.message,
            None => format!(
                "the certificate provider `{}` failed: {}",
                self.name, error.message
            ),
        };
        TlsFileError {
            message,
            span: error.span,
            help: error.help.unwrap_or_else(|| {
                "it is asked again; see whether what it depends on is there".to_owned()
            }),
        }
    }
}
