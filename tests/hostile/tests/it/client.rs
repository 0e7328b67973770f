//! A client that writes bytes as they are and reads answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Nothing here takes so long but a proxy that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// An answer with all of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// It says `Connection: close`.
    pub(crate) closes: bool,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the proxy accepts");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            socket,
            unread: Vec::new(),
        }
    }

    /// Sends in pieces of so many bytes, until the proxy does not take any more.
    pub(crate) fn send(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            if self.socket.write_all(piece).is_err() {
                return;
            }
        }
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next answer, to a request with this method.
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        let head_length = loop {
            match self.unread.windows(4).position(|end| end == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read_more(),
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..head_length]).to_ascii_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no status in {head:?}"));
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let length: usize = field("content-length:")
            .and_then(|length| length.parse().ok())
            .unwrap_or_else(|| panic!("no length in {head:?}"));
        let length = if method == "HEAD" && status < 300 {
            0
        } else {
            length
        };
        while self.unread.len() < head_length + length {
            self.read_more();
        }
        self.unread.drain(..head_length + length);
        Answer {
            status,
            closes: field("connection:").as_deref() == Some("close"),
        }
    }

    /// Ends the sending direction.
    pub(crate) fn end(&mut self) {
        self.socket
            .shutdown(std::net::Shutdown::Write)
            .expect("an open socket");
    }

    /// The proxy must end the connection now, having sent no more.
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(
            self.unread.escape_ascii().to_string(),
            "",
            "there is more behind the last answer"
        );
        let mut byte = [0];
        match self.socket.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("there is more behind the last answer"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("the connection is still open")
            }
            Err(error) => panic!("the connection did not end well: {error}"),
        }
    }

    fn read_more(&mut self) {
        let mut buffer = [0; 4 << 10];
        let count = self.socket.read(&mut buffer).unwrap_or_else(|error| {
            panic!(
                "no answer ({error}) behind {:?}",
                self.unread.escape_ascii().to_string()
            )
        });
        assert!(count > 0, "the connection ended before the answer");
        self.unread.extend_from_slice(&buffer[..count]);
    }
}
