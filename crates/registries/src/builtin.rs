//! What the proxy knows of a built-in registry: the levels of the kind `registry`.

use std::marker::PhantomData;
use std::sync::Arc;

use transom_api::{
    Factory, Node, ParseError, Parsed, Prepare, PrepareContext, PrepareError, Schema,
    ServiceRegistries, ServiceRegistry,
};

/// A registry whose settings are all that it needs to begin.
pub(crate) trait Builtin: Clone + Send + Sync + 'static {
    fn schema() -> Schema;
    fn parse(config: &Node) -> Result<Self, ParseError>;
    fn prepare(&self, context: &PrepareContext) -> Result<Arc<dyn ServiceRegistry>, PrepareError>;
}

struct BuiltinFactory<B>(PhantomData<fn() -> B>);
struct BuiltinParsed<B>(B);

pub(crate) fn factory<B: Builtin>() -> Arc<dyn Factory<ServiceRegistries>> {
    Arc::new(BuiltinFactory::<B>(PhantomData))
}

impl<B: Builtin> Factory<ServiceRegistries> for BuiltinFactory<B> {
    fn schema(&self) -> Schema {
        B::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<ServiceRegistries>>, ParseError> {
        Ok(Arc::new(BuiltinParsed(B::parse(config)?)))
    }
}

impl<B: Builtin> Parsed<ServiceRegistries> for BuiltinParsed<B> {
    fn prepare(&self, context: PrepareContext) -> Prepare<ServiceRegistries> {
        Box::pin(std::future::ready(self.0.prepare(&context)))
    }
}

/// One text or several: a list, or one text with commas as flags and variables have it.
pub(crate) fn addresses(node: &Node) -> Result<Vec<(String, Node)>, ParseError> {
    let items: Vec<(String, Node)> = match node.as_list() {
        Ok(items) => {
            let text = |item: &Node| Ok((item.as_str()?.trim().to_owned(), item.clone()));
            items.iter().map(text).collect::<Result<_, ParseError>>()?
        }
        Err(_) => {
            let parts = node.as_str()?.split(',');
            parts
                .map(|part| (part.trim().to_owned(), node.clone()))
                .collect()
        }
    };
    let items: Vec<_> = items.into_iter().filter(|(it, _)| !it.is_empty()).collect();
    if items.is_empty() {
        return Err(node.error("no address is named"));
    }
    Ok(items)
}

/// The shape of what [`addresses`] reads.
pub(crate) fn addresses_schema(description: &str) -> Schema {
    Schema::new(transom_api::Shape::Any).describe(description)
}
