//! What hyper's server makes of all the bytes of a connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper::body::{Body, Incoming};
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::transom_codec::Accepted;

/// More than any input or all of its answers have: nobody waits for the other to read.
const PIPE: usize = 1 << 20;

/// All requests that hyper hands to a service and whose bodies it reads to their ends.
pub(crate) async fn accepted(input: &[u8]) -> Vec<Accepted> {
    let (mut client, server) = duplex(PIPE);
    client.write_all(input).await.expect("the pipe is open");
    client.shutdown().await.expect("the pipe is open");

    let all = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let all = Arc::clone(&all);
        async move {
            let status = match request.method() {
                // As the proxy: no tunnels.
                &Method::CONNECT => StatusCode::NOT_IMPLEMENTED,
                _ => StatusCode::OK,
            };
            if let Some(request) = read(request).await {
                all.lock().expect("nobody panicked").push(request);
            }
            let mut response = Response::new(String::new());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    // How it ends does not matter: what it accepted before counts.
    let _ = http1::Builder::new()
        .half_close(true)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(server), service)
        .await;
    let mut answers = Vec::new();
    let _ = client.read_to_end(&mut answers).await;
    std::mem::take(&mut *all.lock().expect("nobody panicked"))
}

/// `None`: the body broke off or was refused.
async fn read(request: Request<Incoming>) -> Option<Accepted> {
    let (head, mut body) = request.into_parts();
    let mut accepted = Accepted {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        fields: readable(&head.headers),
        ..Accepted::default()
    };
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.ok()?.into_data() {
            Ok(data) => accepted.body.extend_from_slice(&data),
            Err(frame) => accepted.trailers = readable(frame.trailers_ref()?),
        }
    }
    Some(accepted)
}

fn readable(fields: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut readable: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    readable.sort();
    readable
}
