//! A scripted upstream.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::{Client, Message, eventually};

/// A server on a port of its own. Each connection is served by a thread.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    requests: Mutex<Vec<Message>>,
    connections: Mutex<Vec<TcpStream>>,
}

impl Upstream {
    /// Answers each request with the bytes that `answer` makes of it; bytes without a whole answer are sent as they are.
    /// Empty bytes close the connection.
    pub fn answering(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(move |mut connection| {
            while let Ok(Some(request)) = connection.request() {
                let bytes = answer(&request);
                if bytes.is_empty() || connection.client.try_send(bytes).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers 200 with this body.
    #[must_use]
    pub fn ok(body: &'static str) -> Self {
        Self::answering(move |_| ok(body))
    }

    /// Answers 200 with a body that tells what came: method, target, fields (sorted, in lower case), body and trailers,
    /// a line each.
    #[must_use]
    pub fn echo() -> Self {
        Self::answering(|request| ok(&tell(request)))
    }

    /// Hands each connection to `serve`.
    ///
    /// # Panics
    /// When no port can be bound.
    pub fn serving(serve: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let serve = Arc::new(serve);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if state.stop.load(Ordering::SeqCst) {
                    return;
                }
                lock(&state.connections).push(stream.try_clone().unwrap());
                let connection = Connection {
                    client: Client::over(stream),
                    shared: Arc::clone(&state),
                };
                let serve = Arc::clone(&serve);
                let socket = connection.client.socket().try_clone().unwrap();
                std::thread::spawn(move || {
                    serve(connection);
                    // The list of connections holds the socket open.
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that came whole so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Message> {
        lock(&self.shared.requests).clone()
    }

    /// The last request that came.
    ///
    /// # Panics
    /// When none came.
    #[must_use]
    pub fn last(&self) -> Message {
        lock(&self.shared.requests).last().cloned().unwrap()
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// Waits until so many requests have come.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_requests(&self, count: usize) {
        eventually("requests at the upstream", || {
            (lock(&self.shared.requests).len() >= count).then_some(())
        });
    }

    /// Closes all connections that are open; those who use them are not told but by that.
    pub fn close_connections(&self) {
        for connection in lock(&self.shared.connections).iter() {
            // One that is gone already is closed well enough.
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.close_connections();
        // The accepting thread looks at `stop` when somebody connects.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.accepting.take() {
            // A panic there has failed the test already.
            let _ = thread.join();
        }
    }
}

/// A connection of the proxy to the upstream.
#[derive(Debug)]
pub struct Connection {
    /// The connection itself; to it the proxy is the client.
    pub client: Client,
    shared: Arc<Shared>,
}

impl Connection {
    /// Reads the next request as a whole.
    pub fn request(&mut self) -> std::io::Result<Option<Message>> {
        let request = Message::read_request(self.client.reader())?;
        if let Some(request) = &request {
            lock(&self.shared.requests).push(request.clone());
        }
        Ok(request)
    }

    /// Reads the head of the next request and leaves its body.
    pub fn head(&mut self) -> std::io::Result<Option<Message>> {
        Message::read_head(self.client.reader())
    }

    /// Reads what comes until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        self.client.rest()
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.send(bytes);
    }
}

/// A plain answer with a length.
#[must_use]
pub fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// What a request was, as text.
#[must_use]
pub fn tell(request: &Message) -> String {
    let fields = |fields: &[(String, String)]| {
        let mut fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}: {value}\n", name.to_ascii_lowercase()))
            .collect();
        fields.sort();
        fields.concat()
    };
    format!(
        "{} {}\n{}body {}\n{}",
        request.method(),
        request.target(),
        fields(&request.headers),
        request.text(),
        fields(&request.trailers)
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
