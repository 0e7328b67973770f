//! Which services a plugin says that it has.

use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use transom_goplugin::Channel;

/// The names of a plugin's gRPC services, sorted; `None` if it has no reflection (v1) to tell them by.
pub async fn services(channel: Channel) -> Option<Vec<String>> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let answer = client.server_reflection_info(tokio_stream::once(request));
    let message = answer.await.ok()?.into_inner().message().await.ok()??;
    let Some(MessageResponse::ListServicesResponse(list)) = message.message_response else {
        return None;
    };
    let mut names: Vec<String> = list.service.into_iter().map(|one| one.name).collect();
    names.sort();
    Some(names)
}
