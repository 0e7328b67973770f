//! Libraries that the environment names: loaded before anything starts, their extensions known by their own names.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use transom_abi as abi;
use transom_api::{
    AccessLogs, Brokers, CertificateProviders, Clients, DuplicateExtension, Kind, ListenerFilters,
    NetworkFilters, Plugin, PluginLife, PrepareContext, PreparePlugin, Registry, Selectors,
    Servers, ServiceRegistries, StreamFilters, Transports,
};

use crate::error::LoadError;
use crate::files::Verified;
use crate::load::{Cell, Loaded};
use crate::probe::Prober;
use crate::runtime::plugin;

/// A library that was loaded, and what it has.
pub struct Brought {
    library: Arc<Loaded>,
    plugin: Plugin,
}

/// It is loaded already.
struct Here(Arc<Loaded>);

impl PluginLife for Here {
    fn prepare(&self, _context: PrepareContext) -> PreparePlugin {
        let library: Arc<dyn Any + Send + Sync> = Arc::<Loaded>::clone(&self.0);
        Box::pin(std::future::ready(Ok(library)))
    }
}

impl Brought {
    /// Reads, checks and loads the library at `path`, as one that is declared without a checksum.
    pub fn load(path: &Path, prober: &Prober) -> Result<Self, LoadError> {
        let verified = Verified::read(path, None)?;
        let library = Loaded::load(&verified, prober)?;
        let cell = Cell::default();
        // It is new, so nothing is in it.
        let _ = cell.set(Arc::clone(&library));
        let plugin = plugin(Arc::new(Here(Arc::clone(&library))), &cell);
        Ok(Self { library, plugin })
    }

    /// One line on what it is.
    #[must_use]
    pub fn describe(&self) -> String {
        self.library.describe()
    }

    /// Kind and name of each extension that this host can use. One without a name has the library's.
    #[must_use]
    pub fn extensions(&self) -> Vec<(Kind, String)> {
        let found = self.library.found().filter_map(|(kind, name)| {
            let name = match name {
                "" => self.library.name(),
                name => name,
            };
            Some((kind_of(kind)?, name.to_owned()))
        });
        found.collect()
    }

    /// Puts its extensions into a registry, by their names.
    pub fn register(&self, registry: &mut Registry) -> Result<(), DuplicateExtension> {
        let plugin = &self.plugin;
        for (kind, written) in self.library.found() {
            let Some(kind) = kind_of(kind) else {
                continue;
            };
            let name = match written {
                "" => self.library.name(),
                name => name,
            };
            macro_rules! put {
                ($($kinds:ident = $kind:ident,)*) => {
                    match kind {
                        $(Kind::$kind => {
                            if let Some(factory) = plugin.find::<$kinds>(written) {
                                registry.register::<$kinds>(name, factory)?;
                            }
                        })*
                        _ => {}
                    }
                };
            }
            put! {
                AccessLogs = AccessLog,
                Brokers = Broker,
                CertificateProviders = CertificateProvider,
                Clients = Client,
                ListenerFilters = ListenerFilter,
                NetworkFilters = NetworkFilter,
                Selectors = Selector,
                Servers = Server,
                ServiceRegistries = Registry,
                StreamFilters = StreamFilter,
                Transports = Transport,
            }
        }
        Ok(())
    }
}

/// The numbers of the border. One that is not here belongs to a kind of a later version.
fn kind_of(kind: abi::Kind) -> Option<Kind> {
    Some(match kind {
        1 => Kind::StreamFilter,
        2 => Kind::NetworkFilter,
        3 => Kind::ListenerFilter,
        4 => Kind::AccessLog,
        5 => Kind::CertificateProvider,
        6 => Kind::Registry,
        7 => Kind::Selector,
        8 => Kind::Transport,
        9 => Kind::Client,
        10 => Kind::Server,
        11 => Kind::Broker,
        _ => return None,
    })
}
