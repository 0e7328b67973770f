//! gRPC's health service, asked of any server.

use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::http2::Channel;

/// Whether the server of this connection says that it serves. One without the health service does by answering at all.
///
/// On the wire: `/grpc.health.v1.Health/Check` of the empty service.
pub async fn serving(channel: &Channel) -> Result<bool, Status> {
    let request = HealthCheckRequest {
        service: String::new(),
    };
    match HealthClient::new(channel.clone()).check(request).await {
        Ok(answer) => Ok(answer.into_inner().status() == ServingStatus::Serving),
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::NotFound) => Ok(true),
        Err(status) => Err(status),
    }
}
