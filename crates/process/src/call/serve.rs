//! The plugin's side.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use transom_goplugin::plugin::{self, PluginSet, ServeConfig};
use transom_goplugin::{MAX_MESSAGE, Services};

use super::proto::plugin_server::{Plugin, PluginServer};
use super::{LOG_BASE, PROCS, Request, Response, handshake};

/// What answers the calls: MOSN's `Service`. Any function of a request is one.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. An error reaches the caller as gRPC's `UNKNOWN` with its text, as MOSN's plugins give it.
    fn call(&self, request: Request)
    -> impl Future<Output = Result<Response, ServiceError>> + Send;
}

/// Why a service does not answer.
pub type ServiceError = Box<dyn std::error::Error + Send + Sync>;

impl<F, A, E> Service for F
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, E>> + Send,
    E: Into<ServiceError>,
{
    async fn call(&self, request: Request) -> Result<Response, ServiceError> {
        self(request).await.map_err(Into::into)
    }
}

/// Serves until the host ends the plugin or is gone: MOSN's `Serve`. A plugin's `main` returns what this returns.
///
/// It uses the threads that the host allows (`MOSN_PROCS`).
pub fn serve(service: impl Service) -> ExitCode {
    let runtime = match threads(std::env::var(PROCS).ok().as_deref()) {
        Some(1) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        Some(threads) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build(),
        None => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build(),
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the plugin's runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let service = Arc::new(service);
    let plugins = PluginSet::new().plugin("MOSN_SERVICE", move |_broker| {
        let server = PluginServer::new(Calls(Arc::clone(&service)));
        Services::new().add_service(server.max_decoding_message_size(MAX_MESSAGE))
    });
    runtime.block_on(plugin::serve(
        ServeConfig::new(handshake()).plugins(plugins),
    ))
}

/// The folder for logs that the host named, with a slash at its end: MOSN's `GetLogPath`. `None` if it named none.
pub fn log_base() -> Option<String> {
    std::env::var(LOG_BASE)
        .ok()
        .filter(|folder| !folder.is_empty())
}

/// The threads that `MOSN_PROCS` allows; `None` for as many as there are CPUs. What is no number is none.
fn threads(procs: Option<&str>) -> Option<usize> {
    match procs?.parse() {
        Ok(0) | Err(_) => None,
        Ok(procs) => Some(procs),
    }
}

struct Calls<S>(Arc<S>);

#[tonic::async_trait]
impl<S: Service> Plugin for Calls<S> {
    async fn call(
        &self,
        request: tonic::Request<Request>,
    ) -> Result<tonic::Response<Response>, tonic::Status> {
        match self.0.call(request.into_inner()).await {
            Ok(response) => Ok(tonic::Response::new(response)),
            Err(error) => Err(tonic::Status::unknown(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_what_the_host_allows() {
        assert_eq!(threads(None), None);
        assert_eq!(threads(Some("0")), None);
        assert_eq!(threads(Some("x")), None);
        assert_eq!(threads(Some("3")), Some(3));
    }
}
