//! A runtime that hosts what stands in the declaration: plugins without anything outside of the process.

use std::any::Any;
use std::sync::Arc;

use transom_api::{
    Factory, Node, ParseError, Plugin, PluginLife, PrepareContext, PrepareError, PreparePlugin,
    Registry, Runtime, Schema, StreamFilters,
};

use crate::Lab;

/// Registers the runtime `told`: a plugin is `{filter: NAME, version: TEXT, fails: BOOL}` and can be used as the stream filter
/// that is registered under that name. Starts and ends are counted as `plugin VERSION.start` and `plugin VERSION.end`.
pub(crate) fn register(registry: &mut Registry, lab: &Lab) {
    let filter = registry.find::<StreamFilters>("part").ok();
    let lab = lab.clone();
    registry.register_runtime("told", Arc::new(Told { lab, filter }));
}

struct Told {
    lab: Lab,
    filter: Option<Arc<dyn Factory<StreamFilters>>>,
}

impl Runtime for Told {
    fn schema(&self) -> Schema {
        Schema::object()
            .required("version", Schema::string())
            .optional("fails", Schema::string())
    }

    fn parse(&self, _name: &str, declaration: &Node) -> Result<Plugin, ParseError> {
        let mut fields = declaration.as_fields()?;
        let life = ToldLife {
            lab: self.lab.clone(),
            version: fields.required("version")?.as_str()?.to_owned(),
            fails: fields
                .optional("fails")
                .map(|node| Ok::<_, ParseError>((node.as_str()?.to_owned(), node.clone())))
                .transpose()?,
        };
        fields.finish()?;
        let plugin = Plugin::new(Arc::new(life));
        let filter = self.filter.clone();
        Ok(match filter {
            Some(filter) => plugin.with::<StreamFilters>(move |extension| {
                Arc::new(Wrapped {
                    filter: Arc::clone(&filter),
                    extension: extension.to_owned(),
                })
            }),
            None => plugin,
        })
    }
}

struct ToldLife {
    lab: Lab,
    version: String,
    fails: Option<(String, Node)>,
}

impl PluginLife for ToldLife {
    fn prepare(&self, _context: PrepareContext) -> PreparePlugin {
        let outcome = match &self.fails {
            Some((why, node)) => Err(PrepareError::new(why.clone()).at(node.span)),
            None => {
                self.lab.note(format!("plugin {}.start", self.version));
                let running: Arc<dyn Any + Send + Sync> = Arc::new(Running {
                    lab: self.lab.clone(),
                    version: self.version.clone(),
                });
                Ok(running)
            }
        };
        Box::pin(std::future::ready(outcome))
    }
}

struct Running {
    lab: Lab,
    version: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lab.note(format!("plugin {}.end", self.version));
    }
}

/// The filter, with the name of the extension in the plugin before the version that the use wants.
struct Wrapped {
    filter: Arc<dyn Factory<StreamFilters>>,
    extension: String,
}

impl Factory<StreamFilters> for Wrapped {
    fn schema(&self) -> Schema {
        self.filter.schema()
    }

    fn parse(
        &self,
        config: &Node,
    ) -> Result<Arc<dyn transom_api::Parsed<StreamFilters>>, ParseError> {
        let version = config.entry("version").map_or(Ok(""), Node::as_str)?;
        let config = Node::map([(
            "version",
            Node::from(format!("{}{version}", self.extension).as_str()),
        )]);
        self.filter.parse(&config)
    }
}
