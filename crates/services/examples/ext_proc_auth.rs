//! A server of Envoy's `ext_proc` that lets requests with the header `user: admin` pass and refuses others with 403.
//!
//! ```sh
//! cargo run -p transom-services --example ext_proc_auth               # binds a port of the loopback and prints it
//! cargo run -p transom-services --example ext_proc_auth -- 127.0.0.1:50051
//! cargo run -p transom-services --example ext_proc_auth -- unix:/tmp/auth.sock
//! ```

use std::error::Error;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use transom_services::grpc::frame;
use transom_services::proto::ext_proc::processing_request::Request;
use transom_services::proto::ext_proc::processing_response::Response as Answer;
use transom_services::proto::ext_proc::{
    BodyResponse, HeadersResponse, HttpHeaders, ImmediateResponse, ProcessingRequest,
    ProcessingResponse, TrailersResponse,
};

const METHOD: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// gRPC's prefix of a message: a flag, and four bytes of length.
const PREFIX: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())?;
    runtime.block_on(async {
        if let Some(path) = address.strip_prefix("unix:") {
            let listener = UnixListener::bind(path)?;
            loop {
                serve(listener.accept().await?.0);
            }
        }
        let address: SocketAddr = address
            .parse()
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = TcpListener::bind(address).await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            serve(socket);
        }
    })
}

/// Serves a connection beside the others.
fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    tokio::task::spawn_local(async move {
        let mut connection = h2::server::handshake(socket).await?;
        while let Some(call) = connection.accept().await {
            let (request, respond) = call?;
            if request.uri().path() != METHOD {
                refuse(respond)?;
                continue;
            }
            tokio::task::spawn_local(async move {
                // A client that goes away is no news.
                process(request.into_body(), respond).await.ok()
            });
        }
        Ok::<_, h2::Error>(())
    });
}

/// Another method, as of the health service, which this server does not have: status 12, UNIMPLEMENTED.
fn refuse(mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("12"));
    respond.send_response(response, true)?;
    Ok(())
}

/// One `Process` call: an answer to each message, until the client has no more.
async fn process(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
) -> Result<(), Box<dyn Error>> {
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .body(())?;
    let mut send = respond.send_response(response, false)?;
    let mut pending = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        pending.extend_from_slice(&data);
        while let Some(message) = next_message(&mut pending) {
            let answer = answer(ProcessingRequest::decode(message)?);
            send.send_data(frame(&answer), false)?;
        }
    }
    end(send)
}

fn end(mut send: SendStream<Bytes>) -> Result<(), Box<dyn Error>> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(send.send_trailers(trailers)?)
}

fn next_message(pending: &mut BytesMut) -> Option<BytesMut> {
    let [_, length @ ..] = *pending.first_chunk::<PREFIX>()?;
    let length = u32::from_be_bytes(length) as usize;
    (pending.len() >= PREFIX + length).then(|| {
        pending.advance(PREFIX);
        pending.split_to(length)
    })
}

fn answer(request: ProcessingRequest) -> ProcessingResponse {
    let response = match request.request {
        Some(Request::RequestHeaders(headers)) if !is_admin(&headers) => {
            Answer::ImmediateResponse(ImmediateResponse {
                status: Some(transom_services::proto::envoy::r#type::v3::HttpStatus { code: 403 }),
                ..ImmediateResponse::default()
            })
        }
        Some(Request::RequestBody(_)) => Answer::RequestBody(BodyResponse::default()),
        Some(Request::RequestTrailers(_)) => Answer::RequestTrailers(TrailersResponse::default()),
        Some(Request::ResponseHeaders(_)) => Answer::ResponseHeaders(HeadersResponse::default()),
        Some(Request::ResponseBody(_)) => Answer::ResponseBody(BodyResponse::default()),
        Some(Request::ResponseTrailers(_)) => Answer::ResponseTrailers(TrailersResponse::default()),
        _ => Answer::RequestHeaders(HeadersResponse::default()),
    };
    ProcessingResponse {
        response: Some(response),
        ..ProcessingResponse::default()
    }
}

fn is_admin(headers: &HttpHeaders) -> bool {
    let fields = headers.headers.iter().flat_map(|map| &map.headers);
    fields
        .filter(|field| field.key == "user")
        .any(|field| field.raw_value == b"admin"[..] || field.value == "admin")
}
