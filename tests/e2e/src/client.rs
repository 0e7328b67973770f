//! A raw client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::{Message, PATIENCE};

/// A client's connection: sends bytes as they are.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// A client over a connection that is there.
    ///
    /// # Panics
    /// When the socket takes no time limits.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the other side does not take them.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends bytes to whoever may have closed already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Reads an answer to a request that is not HEAD.
    ///
    /// # Panics
    /// When there is none, or one without an end.
    #[must_use]
    #[track_caller]
    pub fn answer(&mut self) -> Message {
        self.answer_to("GET")
    }

    /// Reads an answer to a request with this method.
    ///
    /// # Panics
    /// When there is none, or one without an end.
    #[must_use]
    #[track_caller]
    pub fn answer_to(&mut self, method: &str) -> Message {
        match self.try_answer(method) {
            Ok(Some(answer)) => answer,
            Ok(None) => panic!("the connection was closed without an answer"),
            Err(error) => panic!("no answer came: {error}"),
        }
    }

    /// Reads an answer; `None` when the connection is closed without one.
    pub fn try_answer(&mut self, method: &str) -> io::Result<Option<Message>> {
        Message::read_response(&mut self.reader, method)
    }

    /// Reads a head, and nothing of a body.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn head(&mut self) -> Message {
        Message::read_head(&mut self.reader).unwrap().unwrap()
    }

    /// Sends a GET and reads its answer.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .answer()
    }

    /// Sends a POST with a length and reads its answer.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: &str) -> Message {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .answer()
    }

    /// What is read, without its end.
    pub fn reader(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.reader
    }

    /// Reads so many bytes.
    ///
    /// # Panics
    /// When the connection ends before.
    #[must_use]
    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads until the other side ends.
    ///
    /// # Panics
    /// When it does not end well.
    #[must_use]
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rest
    }

    /// Whether the other side has closed or reset: waits for it, and for nothing else to come.
    #[must_use]
    pub fn is_closed(&mut self) -> bool {
        match self.reader.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
        }
    }

    /// Ends the sending direction.
    ///
    /// # Panics
    /// When the connection is gone already.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Leaves without a word: the other side gets a reset.
    ///
    /// # Panics
    /// When the socket takes no option.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }
}
