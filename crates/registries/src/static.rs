//! `static`: services whose hosts stand in the configuration.
//!
//! ```yaml
//! registry:
//!   name: static
//!   config: {services: {greeter: ["127.0.0.1:8080", {address: "127.0.0.1:8081", weight: 2}]}}
//! ```

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use transom_api::certificate_provider::Provide;
use transom_api::{
    Discovered, Node, ParseError, PrepareContext, PrepareError, Schema, ServiceHost,
    ServiceRegistry, Shape,
};

use crate::builtin::Builtin;
use crate::hosts;

/// The services by name.
#[derive(Clone, Debug)]
pub struct Static(Arc<BTreeMap<String, Vec<ServiceHost>>>);

impl Builtin for Static {
    fn schema() -> Schema {
        Schema::object()
            .required(
                "services",
                Schema::map_of(Schema::list(Schema::new(Shape::Any)))
                    .describe("The hosts of each service: addresses, or maps with `address` and `weight` (1 to 128)."),
            )
            .describe("Services whose hosts stand in the configuration.")
    }

    fn parse(config: &Node) -> Result<Self, ParseError> {
        let mut fields = config.as_fields()?;
        let services = fields.required("services")?;
        fields.finish()?;
        let mut known = BTreeMap::new();
        for (name, hosts) in services.as_entries()? {
            let hosts = hosts.as_list()?.iter().map(hosts::of_node);
            known.insert(name.name.clone(), hosts.collect::<Result<_, _>>()?);
        }
        Ok(Self(Arc::new(known)))
    }

    fn prepare(&self, _context: &PrepareContext) -> Result<Arc<dyn ServiceRegistry>, PrepareError> {
        Ok(Arc::new(self.clone()))
    }
}

impl ServiceRegistry for Static {
    fn watch(self: Arc<Self>, service: String, hosts: Discovered) -> Provide<()> {
        hosts.tell(self.0.get(&service).cloned().unwrap_or_default());
        Box::pin(pending())
    }
}
