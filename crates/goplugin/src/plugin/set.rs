//! What a plugin offers.

use std::sync::Arc;

use crate::broker::GrpcBroker;
use crate::services::Services;

/// The plugins of one version: Go's `PluginSet`, from the side that serves.
///
/// Nothing of the names goes on the wire: the services of all plugins share one server, and the host finds them by the names that
/// gRPC gives them.
#[derive(Clone, Default)]
pub struct PluginSet {
    plugins: Vec<(String, Make)>,
}

type Make = Arc<dyn Fn(&GrpcBroker) -> Services + Send + Sync>;

impl PluginSet {
    /// No plugin yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a plugin: `make` is called once at start and returns its services. The broker it is given stays usable.
    ///
    /// Go's name for `make` is `GRPCServer`.
    #[must_use]
    pub fn plugin<F>(mut self, name: impl Into<String>, make: F) -> Self
    where
        F: Fn(&GrpcBroker) -> Services + Send + Sync + 'static,
    {
        self.plugins.push((name.into(), Arc::new(make)));
        self
    }

    /// The names of the plugins.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn services(&self, broker: &GrpcBroker) -> Services {
        let mut services = Services::new();
        for (_, make) in &self.plugins {
            services.merge(make(broker));
        }
        services
    }
}

impl std::fmt::Debug for PluginSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
