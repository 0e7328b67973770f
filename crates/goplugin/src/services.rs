//! The gRPC services of one server, by name.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use crate::http2::IncomingBody;

/// What a server serves: any services that `tonic` generates, as they are, with or without interceptors.
///
/// A call to a service that is not here is answered with `UNIMPLEMENTED`.
#[derive(Clone, Default)]
pub struct Services {
    routes: HashMap<&'static str, Arc<dyn Route>>,
    descriptors: Vec<&'static [u8]>,
}

impl Services {
    /// No service yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service under the name that it was generated with. A second one of the same name takes the first one's place.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<IncomingBody>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.insert(S::NAME, Arc::new(Routed(service)));
        self
    }

    /// Adds an encoded `FileDescriptorSet` to what reflection tells; the service itself is not changed by it.
    #[must_use]
    pub fn describe(mut self, descriptors: &'static [u8]) -> Self {
        self.descriptors.push(descriptors);
        self
    }

    /// The names of the services, in no order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.routes.keys().copied()
    }

    pub(crate) fn descriptors(&self) -> &[&'static [u8]] {
        &self.descriptors
    }

    /// Adds what `other` has; its services win.
    pub(crate) fn merge(&mut self, other: Self) {
        self.routes.extend(other.routes);
        self.descriptors.extend(other.descriptors);
    }

    /// The service that `path` (`/package.Service/Method`) names.
    pub(crate) fn route(&self, path: &str) -> Option<&Arc<dyn Route>> {
        let (service, _) = path.strip_prefix('/')?.split_once('/')?;
        self.routes.get(service)
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

/// One service behind a pointer.
pub(crate) trait Route: Send + Sync {
    fn call(&self, request: Request<IncomingBody>) -> Answer;
}

/// The answer of a service.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

struct Routed<S>(S);

impl<S> Route for Routed<S>
where
    S: Service<Request<IncomingBody>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    fn call(&self, request: Request<IncomingBody>) -> Answer {
        // Generated services are ready at all times; a clone is what `call` needs to be exclusive.
        let mut service = self.0.clone();
        Box::pin(async move {
            let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
            let answer = match ready {
                Ok(()) => service.call(request).await,
                Err(never) => Err(never),
            };
            match answer {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }
}
