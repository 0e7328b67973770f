//! The runtime `library`: what hosts a plugin that is declared with `runtime: library`.

use std::any::Any;
use std::sync::Arc;

use transom_api::kind::{
    AccessLogs, CertificateProviders, Clients, ListenerFilters, NetworkFilters, Selectors,
    StreamFilters,
};
use transom_api::{
    Factory, Node, ParseError, Plugin, PluginLife, PrepareContext, PrepareError, PreparePlugin,
    Registry, Runtime, Schema,
};

use crate::access_log::AccessLogTable;
use crate::certificate_provider::CertificateProviderTable;
use crate::client::ClientTable;
use crate::configs::{Hosted, Maker};
use crate::files::{Verified, sha256_of};
use crate::listener_filter::ListenerFilterTable;
use crate::load::{Cell, Loaded};
use crate::network_filter::NetworkFilterTable;
use crate::probe::Prober;
use crate::selector::SelectorTable;
use crate::stream_filter::StreamFilterTable;

/// The name of the runtime in declarations.
pub const NAME: &str = "library";

/// The runtime.
#[derive(Debug)]
pub struct LibraryRuntime {
    prober: Prober,
}

impl LibraryRuntime {
    /// A runtime whose libraries are first loaded by `prober`.
    pub fn new(prober: Prober) -> Arc<Self> {
        Arc::new(Self { prober })
    }

    /// Puts the runtime into a registry, as `library`.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_runtime(NAME, Arc::<Self>::clone(self));
    }
}

impl Runtime for LibraryRuntime {
    fn schema(&self) -> Schema {
        Schema::object()
            .required(
                "file",
                Schema::string().describe(
                    "The shared library. A relative path begins at the configuration's folder. It must belong to root or to the user that runs Transom, and nobody else may write to it.",
                ),
            )
            .optional(
                "sha256",
                Schema::string().describe(
                    "The SHA-256 of the file, 64 hexadecimal digits: a file with another one is not loaded.",
                ),
            )
    }

    fn parse(&self, _name: &str, declaration: &Node) -> Result<Plugin, ParseError> {
        let mut fields = declaration.as_fields()?;
        let file = fields.required("file")?;
        let path = file.as_str()?;
        if path.is_empty() {
            return Err(file.error("no file is named"));
        }
        let sha256 = match fields.optional("sha256") {
            None => None,
            Some(node) => Some(sha256_of(node.as_str()?).ok_or_else(|| {
                node.error("this is no SHA-256")
                    .with_help("it has 64 hexadecimal digits; `sha256sum FILE` prints it")
            })?),
        };
        fields.finish()?;
        let cell = Cell::default();
        let life = Life {
            path: path.to_owned(),
            file: file.clone(),
            sha256,
            cell: Arc::clone(&cell),
            prober: self.prober.clone(),
        };
        Ok(plugin(Arc::new(life), &cell))
    }
}

/// What a library can be used as, once it is in the cell.
pub(crate) fn plugin(life: Arc<dyn PluginLife>, cell: &Cell) -> Plugin {
    Plugin::new(life)
        .with::<StreamFilters>(maker::<StreamFilterTable>(cell))
        .with::<NetworkFilters>(maker::<NetworkFilterTable>(cell))
        .with::<ListenerFilters>(maker::<ListenerFilterTable>(cell))
        .with::<AccessLogs>(maker::<AccessLogTable>(cell))
        .with::<CertificateProviders>(maker::<CertificateProviderTable>(cell))
        .with::<Selectors>(maker::<SelectorTable>(cell))
        .with::<Clients>(maker::<ClientTable>(cell))
}

/// What makes the extensions of a kind.
fn maker<T: Hosted>(cell: &Cell) -> impl Fn(&str) -> Arc<dyn Factory<T::Kind>> + use<T> {
    let cell = Arc::clone(cell);
    move |extension| Arc::new(Maker::<T>::new(&cell, extension))
}

/// Loads a declared library.
struct Life {
    path: String,
    /// Where the path stands.
    file: Node,
    sha256: Option<[u8; 32]>,
    cell: Cell,
    prober: Prober,
}

impl PluginLife for Life {
    fn prepare(&self, context: PrepareContext) -> PreparePlugin {
        let path = context.path(&self.path);
        let (sha256, prober) = (self.sha256, self.prober.clone());
        let (cell, span) = (Arc::clone(&self.cell), self.file.span);
        Box::pin(async move {
            let shown = path.display().to_string();
            let loading = tokio::task::spawn_blocking(move || {
                let verified = Verified::read(&path, sha256.as_ref())?;
                Loaded::load(&verified, &prober)
            });
            let loaded = match loading.await {
                Ok(loaded) => loaded.map_err(|error| error.to_string()),
                Err(error) => Err(format!("made its loader panic: {error}")),
            };
            let loaded = loaded
                .map_err(|why| PrepareError::new(format!("the library {shown} {why}")).at(span))?;
            tracing::info!(file = shown, "loaded {}", loaded.describe());
            // A declaration is loaded once.
            let _ = cell.set(Arc::clone(&loaded));
            let kept: Arc<dyn Any + Send + Sync> = loaded;
            Ok(kept)
        })
    }
}
