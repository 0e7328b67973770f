//! `shelf`: a certificate provider that gives what the test has put on its shelf, when the test wants it to.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use transom_api::{
    Certificate, CertificateProvider, CertificateProviders, Certificates, Changed,
    DuplicateExtension, Factory, Node, ParseError, Parsed, Prepare, PrepareContext, PrepareError,
    Provide, Registry, Schema,
};

use crate::Lab;

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    registry.register::<CertificateProviders>("shelf", Arc::new(Shop(lab.clone())))
}

/// What the providers `shelf` of a registry answer. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Shelf {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    all: Answer<Certificates>,
    names: BTreeMap<String, Answer<Certificate>>,
    changed: Option<Changed>,
    /// Who waits for a late answer.
    waiting: Vec<Waker>,
}

/// What a question is answered with.
#[derive(Clone, Debug, Default)]
pub enum Answer<T> {
    /// There is none.
    #[default]
    Nothing,
    /// This.
    Give(T),
    /// An error in these words.
    Fail(&'static str),
    /// The provider panics.
    Panic,
    /// Nothing yet: it is answered when another answer is put here.
    Late,
}

impl Shelf {
    /// What the question for everything is answered with from now on.
    pub fn put_all(&self, answer: Answer<Certificates>) {
        let mut state = self.lock();
        state.all = answer;
        wake(&mut state);
    }

    /// Everything is these certificates.
    pub fn put_certificates(&self, certificates: &[Certificate]) {
        self.put_all(Answer::Give(Certificates {
            certificates: certificates.to_vec(),
            authorities: None,
            refresh_after: None,
        }));
    }

    /// What the question for a name is answered with from now on.
    pub fn put(&self, name: &str, answer: Answer<Certificate>) {
        let mut state = self.lock();
        state.names.insert(name.to_owned(), answer);
        wake(&mut state);
    }

    /// The provider that was made last tells that it has something new.
    ///
    /// # Panics
    /// When there is none.
    pub fn tell(&self) {
        let changed = self.lock().changed.clone();
        changed.unwrap().tell();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer<T>(
        &self,
        look: impl Fn(&State) -> Answer<T>,
    ) -> Result<Option<T>, PrepareError> {
        poll_fn(|cx| {
            let mut state = self.lock();
            match look(&state) {
                Answer::Nothing => Poll::Ready(Ok(None)),
                Answer::Give(it) => Poll::Ready(Ok(Some(it))),
                Answer::Fail(message) => Poll::Ready(Err(PrepareError::new(message))),
                Answer::Panic => {
                    drop(state);
                    panic!("a test provider panics");
                }
                Answer::Late => {
                    state.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

fn wake(state: &mut State) {
    for waker in state.waiting.drain(..) {
        waker.wake();
    }
}

struct Shop(Lab);

struct Options {
    lab: Lab,
    on_demand: bool,
    refresh_after: Option<Duration>,
}

struct Provider {
    lab: Lab,
    on_demand: bool,
    refresh_after: Option<Duration>,
}

impl Factory<CertificateProviders> for Shop {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<CertificateProviders>>, ParseError> {
        let mut options = Options {
            lab: self.0.clone(),
            on_demand: false,
            refresh_after: None,
        };
        if !config.is_null() {
            let mut fields = config.as_fields()?;
            if let Some(on_demand) = fields.optional("on_demand") {
                options.on_demand = on_demand.as_bool()?;
            }
            if let Some(after) = fields.optional("refresh_after") {
                options.refresh_after = Some(after.as_duration()?);
            }
            fields.finish()?;
        }
        Ok(Arc::new(options))
    }
}

impl Parsed<CertificateProviders> for Options {
    fn prepare(&self, _: PrepareContext) -> Prepare<CertificateProviders> {
        self.lab.note("provider prepared");
        let provider: Arc<dyn CertificateProvider> = Arc::new(Provider {
            lab: self.lab.clone(),
            on_demand: self.on_demand,
            refresh_after: self.refresh_after,
        });
        Box::pin(std::future::ready(Ok(provider)))
    }
}

impl CertificateProvider for Provider {
    fn certificates(self: Arc<Self>) -> Provide<Arc<Certificates>> {
        self.lab.note("asked for all");
        Box::pin(async move {
            let answer = self.lab.shelf().answer(|state| state.all.clone()).await?;
            let mut all = answer.unwrap_or_default();
            all.refresh_after = self.refresh_after;
            Ok(Arc::new(all))
        })
    }

    fn answers_on_demand(&self) -> bool {
        self.on_demand
    }

    fn certificate_for(self: Arc<Self>, name: String) -> Provide<Option<Certificate>> {
        self.lab.note(format!("asked for {name}"));
        Box::pin(async move {
            let look = |state: &State| state.names.get(&name).cloned().unwrap_or_default();
            self.lab.shelf().answer(look).await
        })
    }

    fn watch(&self, changed: Changed) {
        self.lab.shelf().lock().changed = Some(changed);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.lab.note("provider dropped");
    }
}
