//! The built-in selectors: which host of a cluster gets a request.
//!
//! - [`round_robin`]: in turn, each as often as its weight says;
//! - [`random`]: by chance, in the shares of the weights;
//! - [`least_request`]: of some that are drawn by chance the one with the fewest active requests.

pub mod least_request;
pub mod random;
pub mod round_robin;
#[cfg(test)]
mod tests;
mod weights;

use std::marker::PhantomData;
use std::sync::Arc;

use transom_api::{
    DuplicateExtension, Factory, Node, ParseError, Parsed, Prepare, PrepareContext, Registry,
    Schema, SelectorConfig, Selectors,
};

/// Puts the built-in selectors into a registry.
pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register::<Selectors>("least_request", factory::<least_request::LeastRequest>())?;
    registry.register::<Selectors>("random", factory::<random::Random>())?;
    registry.register::<Selectors>("round_robin", factory::<round_robin::RoundRobin>())
}

/// A selector whose configuration is all that it needs.
trait Builtin: SelectorConfig + Clone + 'static {
    fn schema() -> Schema;
    fn parse(config: &Node) -> Result<Self, ParseError>;
}

struct BuiltinFactory<S>(PhantomData<fn() -> S>);
struct BuiltinParsed<S>(S);

fn factory<S: Builtin>() -> Arc<dyn Factory<Selectors>> {
    Arc::new(BuiltinFactory::<S>(PhantomData))
}

impl<S: Builtin> Factory<Selectors> for BuiltinFactory<S> {
    fn schema(&self) -> Schema {
        S::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<Selectors>>, ParseError> {
        Ok(Arc::new(BuiltinParsed(S::parse(config)?)))
    }
}

impl<S: Builtin> Parsed<Selectors> for BuiltinParsed<S> {
    fn prepare(&self, _context: PrepareContext) -> Prepare<Selectors> {
        let config: Arc<dyn SelectorConfig> = Arc::new(self.0.clone());
        Box::pin(std::future::ready(Ok(config)))
    }
}
