//! A library's certificate provider, as the control side asks it.

use std::sync::Arc;

use tokio::sync::Mutex;
use transom_abi::{self as abi, Object, Question};
use transom_api::kind::CertificateProviders;
use transom_api::{
    Certificate, CertificateProvider, Certificates, Changed, PrepareContext, PrepareError, Provide,
};

use crate::configs::{Configured, Hosted, place_of};
use crate::current::slice_of;
use crate::error::LoadError;
use crate::load::Loaded;
use crate::news::News;
use crate::questions::{Asked, Refused};
use crate::tables::{AnyTable, Check, Common, Prepare, Raw, Release, Table};

/// The functions of a certificate provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CertificateProviderTable {
    all: abi::CertificateProvider,
    prepare: Prepare<abi::CertificateWants>,
    release: Release,
    certificates: unsafe extern "C" fn(Object, Question),
}

impl CertificateProviderTable {
    pub(crate) fn new(all: abi::CertificateProvider, raw: &Raw<'_>) -> Result<Self, LoadError> {
        Ok(Self {
            prepare: raw.must(all.prepare, "prepare")?,
            release: raw.must(all.release, "release")?,
            certificates: raw.must(all.certificates, "certificates")?,
            all,
        })
    }
}

impl Table for CertificateProviderTable {
    const KIND: abi::Kind = abi::CERTIFICATE_PROVIDER;
    type Wants = abi::CertificateWants;
    /// Whether it answers on demand.
    type Wishes = bool;

    fn common(&self) -> Common<abi::CertificateWants> {
        Common {
            check: Check::Plain(self.all.check),
            prepare: self.prepare,
            release: self.release,
            // It never comes to a worker.
            worker_start: None,
            worker_event: None,
            worker_end: None,
        }
    }

    fn wants(&self) -> abi::CertificateWants {
        abi::CertificateWants {
            size: size_of::<abi::CertificateWants>(),
            on_demand: u32::from(self.all.certificate_for.is_some()),
            reserved: 0,
        }
    }

    unsafe fn read(wants: &abi::CertificateWants, _library: &Loaded) -> Result<bool, PrepareError> {
        Ok(wants.on_demand != 0)
    }

    fn of(table: &AnyTable) -> Option<&Self> {
        match table {
            AnyTable::CertificateProvider(table) => Some(table),
            _ => None,
        }
    }
}

impl Hosted for CertificateProviderTable {
    type Kind = CertificateProviders;
    const LABEL: &'static str = "provider";

    fn config(
        configured: Configured<Self>,
        on_demand: bool,
        _context: &PrepareContext,
        news: Option<News>,
    ) -> Result<Arc<dyn CertificateProvider>, PrepareError> {
        Ok(Arc::new(Provider {
            on_demand: on_demand && configured.table.all.certificate_for.is_some(),
            configured: Arc::new(configured),
            news,
            calls: Arc::default(),
        }))
    }

    fn news() -> Option<News> {
        Some(News::new())
    }
}

struct Provider {
    configured: Arc<Configured<CertificateProviderTable>>,
    on_demand: bool,
    news: Option<News>,
    /// One call at a time, so that a library which does not return soon takes no more than one of the threads that block.
    calls: Arc<Mutex<()>>,
}

impl Provider {
    /// Asks the library, and waits for its answer.
    async fn ask(
        &self,
        call: impl FnOnce(&Configured<CertificateProviderTable>, Question) + Send + 'static,
    ) -> Result<Certificates, PrepareError> {
        let asked = Asked::new();
        let question = asked.number;
        let configured = Arc::clone(&self.configured);
        let turn = Arc::clone(&self.calls).lock_owned().await;
        tokio::task::spawn_blocking(move || {
            call(&configured, question);
            drop(turn);
        });
        let answer = asked.answer().await;
        answer.map_err(|Refused { why, path }| {
            let config = &self.configured.config;
            let place = (!path.is_empty()).then(|| place_of(config, &path).or(config.span));
            let message = format!("{} has no certificates: {why}", self.configured.library);
            PrepareError::new(message).at(place.flatten())
        })
    }
}

impl CertificateProvider for Provider {
    fn certificates(self: Arc<Self>) -> Provide<Arc<Certificates>> {
        Box::pin(async move {
            let asked = self.ask(|configured, question| {
                // SAFETY: The library's function, with an object of its own.
                unsafe { (configured.table.certificates)(configured.object, question) };
            });
            asked.await.map(Arc::new)
        })
    }

    fn answers_on_demand(&self) -> bool {
        self.on_demand
    }

    fn certificate_for(self: Arc<Self>, name: String) -> Provide<Option<Certificate>> {
        Box::pin(async move {
            let asked = self.ask(move |configured, question| {
                if let Some(certificate_for) = configured.table.all.certificate_for {
                    let name = slice_of(name.as_bytes());
                    // SAFETY: The library's function, with an object of its own and a name that holds for the call.
                    unsafe { certificate_for(configured.object, name, question) };
                }
            });
            Ok(asked.await?.certificates.into_iter().next())
        })
    }

    fn watch(&self, changed: Changed) {
        if let Some(news) = &self.news {
            news.listen(changed);
        }
    }
}
