//! A gRPC server that does what a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Response};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use transom_services::grpc::frame;

/// What a server does on a message of a call: the number of the message, and its bytes.
pub(crate) type Script = dyn Fn(usize, Bytes) -> Vec<Step> + Send + Sync;

/// One thing that a server does.
pub(crate) enum Step {
    /// Sends a message.
    Send(Bytes),
    /// Ends the call with this status.
    End(u32),
    /// Does it so many milliseconds later.
    Later(u64, Box<Step>),
    /// Says that the connection takes no more calls, and ends it with the last of them.
    Leave,
    /// Ends the connection.
    Hang,
}

/// A server with a thread of its own; it ends with the test's process.
pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) calls: Arc<Mutex<Vec<Seen>>>,
}

enum Ending {
    Tcp,
    Tls(TlsAcceptor),
    Unix(std::path::PathBuf),
}

/// A call that came.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) messages: Vec<Bytes>,
    /// The client has said that nothing follows; `false` as long as it has not, or when it reset the call.
    pub(crate) ended: bool,
    /// On which connection, from 0.
    pub(crate) connection: usize,
}

impl Step {
    pub(crate) fn send(message: &impl Message) -> Self {
        Self::Send(frame(message))
    }
}

impl Server {
    pub(crate) fn start(
        script: impl Fn(usize, Bytes) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::with(Ending::Tcp, script)
    }

    /// The same over TLS.
    pub(crate) fn secure(
        config: rustls::ServerConfig,
        script: impl Fn(usize, Bytes) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::with(Ending::Tls(TlsAcceptor::from(Arc::new(config))), script)
    }

    /// The same at a Unix socket.
    pub(crate) fn at(
        path: &std::path::Path,
        script: impl Fn(usize, Bytes) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::with(Ending::Unix(path.to_owned()), script)
    }

    fn with(
        ending: Ending,
        script: impl Fn(usize, Bytes) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let unix = match &ending {
            Ending::Unix(path) => {
                let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
                listener.set_nonblocking(true).unwrap();
                Some(listener)
            }
            _ => None,
        };
        let calls = Arc::<Mutex<Vec<Seen>>>::default();
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&calls));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let unix = unix.map(|unix| UnixListener::from_std(unix).unwrap());
                for number in 0.. {
                    let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                    if let Some(unix) = &unix {
                        let (socket, _) = unix.accept().await.unwrap();
                        tokio::spawn(connection(socket, number, script, seen));
                        continue;
                    }
                    let (socket, _) = listener.accept().await.unwrap();
                    match &ending {
                        Ending::Tls(acceptor) => {
                            // A client that refuses is part of a test.
                            let Ok(socket) = acceptor.accept(socket).await else {
                                continue;
                            };
                            tokio::spawn(connection(socket, number, script, seen));
                        }
                        _ => {
                            tokio::spawn(connection(socket, number, script, seen));
                        }
                    }
                }
            });
        });
        Self { address, calls }
    }

    /// The key `grpc` of a configuration.
    pub(crate) fn grpc(&self) -> String {
        format!("grpc: {{address: \"{}\"}}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The messages of a call, decoded.
    pub(crate) fn messages<M: Message + Default>(&self, call: usize) -> Vec<M> {
        let calls = self.calls.lock().unwrap();
        let messages = calls[call].messages.iter();
        messages
            .map(|message| M::decode(message.clone()).unwrap())
            .collect()
    }
}

async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    number: usize,
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    let hang = Arc::new(tokio::sync::Notify::new());
    let leave = Arc::new(tokio::sync::Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = hang.notified() => return,
            () = leave.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        let index = {
            let mut seen = seen.lock().unwrap();
            seen.push(Seen {
                path: request.uri().path().to_owned(),
                headers: request.headers().clone(),
                connection: number,
                ..Seen::default()
            });
            seen.len() - 1
        };
        let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
        let (hang, leave) = (Arc::clone(&hang), Arc::clone(&leave));
        tokio::spawn(async move {
            // A call that the client gives up is no matter of the server's.
            let _ = call(
                request.into_body(),
                respond,
                index,
                &*script,
                &seen,
                [&hang, &leave],
            )
            .await;
        });
    }
}

async fn call(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    index: usize,
    script: &Script,
    seen: &Mutex<Vec<Seen>>,
    [hang, leave]: [&tokio::sync::Notify; 2],
) -> Result<(), h2::Error> {
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut answer = respond.send_response(head, false)?;
    let (mut buffer, mut number) = (Vec::new(), 0);
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        buffer.extend_from_slice(&data);
        while let Some(message) = take(&mut buffer) {
            seen.lock().unwrap()[index].messages.push(message.clone());
            for mut step in script(number, message) {
                if let Step::Later(delay, later) = step {
                    tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
                    step = *later;
                }
                match step {
                    Step::Later(..) => unreachable!("later is once"),
                    Step::Send(message) => answer.send_data(message, false)?,
                    Step::End(status) => return end(&mut answer, status),
                    Step::Leave => leave.notify_one(),
                    Step::Hang => {
                        hang.notify_one();
                        return Ok(());
                    }
                }
            }
            number += 1;
        }
    }
    seen.lock().unwrap()[index].ended = true;
    end(&mut answer, 0)
}

fn take(buffer: &mut Vec<u8>) -> Option<Bytes> {
    let mut prefix = buffer.get(1..5)?;
    let len = prefix.get_u32() as usize;
    let message = buffer.get(5..5 + len)?.to_vec();
    buffer.drain(..5 + len);
    Some(message.into())
}

fn end(answer: &mut SendStream<Bytes>, status: u32) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.to_string().parse().unwrap());
    answer.send_trailers(trailers)
}
