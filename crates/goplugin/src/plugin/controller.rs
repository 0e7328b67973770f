//! `/plugin.GRPCController/Shutdown`: the host asks the plugin to end.

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::proto::Empty;
use crate::proto::grpc_controller_server::GrpcController;

/// Answers, then stops the server. The answer leaves before the connection closes, which Go's plugins do not promise.
pub(crate) struct Controller(pub(crate) watch::Sender<bool>);

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        let _ = self.0.send(true);
        Ok(Response::new(Empty {}))
    }
}
