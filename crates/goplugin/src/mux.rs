//! Many connections on one socket: the multiplexed mode of the broker, go-plugin 1.6.0 and later.
//!
//! The socket carries yamux (version 0) in plain text; TLS and HTTP/2 run inside each stream. A stream has no name, so the side that
//! wants to reach listener N first *knocks* (through the broker) and opens its stream when the knock is acknowledged: the next
//! stream that arrives is N's. A stream without a knock goes to the plugin's main server.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_yamux::session::SessionType;
use tokio_yamux::{Config, Control, Session, StreamHandle};

use crate::net::Io;
use crate::task::Task;

/// How long an acknowledged knock may wait for its stream.
const KNOCK: Duration = Duration::from_secs(5);

/// Acknowledged knocks that may wait at a time. Peers dial one after the other, so more than a few are a flood.
const MAX_KNOCKS: usize = 64;

/// Streams that may exist at a time on one connection.
const MAX_STREAMS: usize = 4096;

/// Streams that may wait to be accepted by one listener; further ones are closed.
const BACKLOG: usize = 64;

/// One multiplexed connection.
#[derive(Clone)]
pub(crate) struct Mux {
    control: Control,
    routes: Arc<Mutex<Routes>>,
    _driver: Arc<Task>,
    gone: watch::Receiver<bool>,
}

#[derive(Default)]
struct Routes {
    main: Option<mpsc::Sender<MuxStream>>,
    listeners: HashMap<u32, mpsc::Sender<MuxStream>>,
    expected: VecDeque<(u32, Instant)>,
}

impl Mux {
    /// Takes over a connected socket as the side that dialled it: the host.
    pub(crate) fn client(io: Io) -> Self {
        Self::new(io, SessionType::Client, None)
    }

    /// Takes over an accepted socket; streams without a knock come out of the receiver.
    pub(crate) fn server(io: Io) -> (Self, mpsc::Receiver<MuxStream>) {
        let (main, streams) = mpsc::channel(BACKLOG);
        (Self::new(io, SessionType::Server, Some(main)), streams)
    }

    fn new(io: Io, role: SessionType, main: Option<mpsc::Sender<MuxStream>>) -> Self {
        let config = Config {
            max_stream_count: MAX_STREAMS,
            ..Config::default()
        };
        let mut session = Session::new(io, config, role);
        let control = session.control();
        let routes = Arc::new(Mutex::new(Routes {
            main,
            ..Routes::default()
        }));
        let (ended, gone) = watch::channel(false);
        let driver = Task::spawn({
            let routes = Arc::clone(&routes);
            async move {
                while let Some(stream) = session.next().await {
                    match stream {
                        Ok(stream) => lock(&routes).deliver(MuxStream(stream)),
                        Err(error) => {
                            tracing::debug!(%error, "multiplexed connection ended");
                            break;
                        }
                    }
                }
                // Nothing will arrive any more: listeners end.
                *lock(&routes) = Routes::default();
                let _ = ended.send(true);
            }
        });
        Self {
            control,
            routes,
            _driver: Arc::new(driver),
            gone,
        }
    }

    /// Opens a stream; whoever dials must have done so alone since its knock.
    pub(crate) async fn open(&self) -> io::Result<MuxStream> {
        let stream = self.control.clone().open_stream().await;
        stream.map(MuxStream).map_err(io::Error::other)
    }

    /// Registers listener `id`. An older one of the same id ends.
    pub(crate) fn listen(&self, id: u32) -> mpsc::Receiver<MuxStream> {
        let (sender, streams) = mpsc::channel(BACKLOG);
        lock(&self.routes).listeners.insert(id, sender);
        streams
    }

    /// Takes a knock: the next stream is `id`'s. An error is what the knocker is told.
    pub(crate) fn expect(&self, id: u32) -> Result<(), String> {
        let mut routes = lock(&self.routes);
        if !routes.has_listener(id) {
            return Err(format!("no listener for id {id}"));
        }
        routes.forget_late_knocks();
        if routes.expected.len() >= MAX_KNOCKS {
            return Err(format!(
                "{MAX_KNOCKS} knocks wait for their streams already"
            ));
        }
        routes.expected.push_back((id, Instant::now()));
        Ok(())
    }

    /// Becomes true when the connection has ended.
    pub(crate) fn gone(&self) -> watch::Receiver<bool> {
        self.gone.clone()
    }
}

impl Routes {
    fn has_listener(&mut self, id: u32) -> bool {
        self.listeners.retain(|_, sender| !sender.is_closed());
        self.listeners.contains_key(&id)
    }

    fn forget_late_knocks(&mut self) {
        while let Some((_, at)) = self.expected.front() {
            if at.elapsed() < KNOCK {
                break;
            }
            self.expected.pop_front();
        }
    }

    /// Hands a stream to whom it belongs. A stream for nobody is dropped, which resets it.
    fn deliver(&mut self, stream: MuxStream) {
        self.forget_late_knocks();
        let listener = match self.expected.pop_front() {
            Some((id, _)) => self.listeners.get(&id),
            None => self.main.as_ref(),
        };
        if let Some(listener) = listener {
            let _ = listener.try_send(stream);
        }
    }
}

fn lock(routes: &Mutex<Routes>) -> MutexGuard<'_, Routes> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One stream of a multiplexed connection.
pub(crate) struct MuxStream(StreamHandle);

impl AsyncRead for MuxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
