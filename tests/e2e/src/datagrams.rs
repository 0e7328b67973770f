//! Both ends of datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::PATIENCE;

/// A server that answers each datagram with its own name and the datagram, and tells who sent it.
#[derive(Debug)]
pub struct UdpUpstream {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    senders: Arc<Mutex<Vec<SocketAddr>>>,
    thread: Option<JoinHandle<()>>,
}

impl UdpUpstream {
    /// Answers `copies` times.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn answering(name: &'static str, copies: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        // It looks at `stop` so often.
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let (stop, senders) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, list) = (Arc::clone(&stop), Arc::<Mutex<Vec<_>>>::clone(&senders));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::SeqCst) {
                let Ok((count, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                list.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(from);
                let answer = [name.as_bytes(), &buffer[..count]].concat();
                for _ in 0..copies {
                    // A client that is gone misses nothing.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self {
            address,
            stop,
            senders,
            thread: Some(thread),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who sent each datagram so far.
    #[must_use]
    pub fn senders(&self) -> Vec<SocketAddr> {
        let senders = self.senders.lock();
        senders.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for UdpUpstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic there has failed the test already.
            let _ = thread.join();
        }
    }
}

/// A client: a socket that is connected, so that it takes answers only from where it sends to.
#[derive(Debug)]
pub struct UdpClient(pub UdpSocket);

impl UdpClient {
    /// A client at `from`, whose port may be 0.
    ///
    /// # Panics
    /// When the address is not there.
    #[must_use]
    pub fn new(from: &str, to: SocketAddr) -> Self {
        let socket = UdpSocket::bind(from).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Sends a datagram.
    ///
    /// # Panics
    /// When the kernel does not take it.
    pub fn send(&self, bytes: &[u8]) -> &Self {
        self.0.send(bytes).unwrap();
        self
    }

    /// The next answer.
    ///
    /// # Panics
    /// When none comes.
    #[must_use]
    #[track_caller]
    pub fn answer(&self) -> Vec<u8> {
        self.try_answer(PATIENCE).expect("no answer came")
    }

    /// The next answer, if one comes in time.
    ///
    /// # Panics
    /// When the socket takes no time limit.
    #[must_use]
    pub fn try_answer(&self, limit: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = vec![0; 65_536];
        let count = self.0.recv(&mut buffer).ok()?;
        buffer.truncate(count);
        Some(buffer)
    }
}
