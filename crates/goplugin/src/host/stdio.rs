//! The host's end of the plugin's output stream.

use tokio::io::AsyncWriteExt;
use tokio_stream::StreamExt;
use tonic::Code;

use super::config::Writer;
use crate::http2::Channel;
use crate::proto::grpc_stdio_client::GrpcStdioClient;
use crate::proto::stdio_data;

/// Copies the plugin's output to the writers until the stream ends. A writer that fails is left out from then on; the stream is read
/// on, because a plugin may wait for its reader.
///
/// A plugin without this service is an old one, or one in another language: that is no error.
pub(super) async fn copy(channel: Channel, mut stdout: Option<Writer>, mut stderr: Option<Writer>) {
    let mut client = GrpcStdioClient::new(channel).max_decoding_message_size(crate::MAX_MESSAGE);
    let mut stream = match client.stream_stdio(()).await {
        Ok(response) => response.into_inner(),
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unavailable) => {
            tracing::debug!(%status, "stdio service not available");
            return;
        }
        Err(status) => {
            tracing::debug!(%status, "stdio stream did not open");
            return;
        }
    };
    while let Some(Ok(piece)) = stream.next().await {
        let writer = match piece.channel() {
            stdio_data::Channel::Stdout => &mut stdout,
            stdio_data::Channel::Stderr => &mut stderr,
            stdio_data::Channel::Invalid => continue,
        };
        if let Some(open) = writer
            && (open.write_all(&piece.data).await.is_err() || open.flush().await.is_err())
        {
            *writer = None;
        }
    }
}
