//! A raw client: it writes what it is told and reads to the end.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use transom_config::ListenAddress;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to the admin interface.
pub(crate) struct Client(pub(crate) Box<dyn Stream>);

/// An answer in its parts.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn connect(address: &ListenAddress) -> Self {
        match address {
            ListenAddress::Tcp(address) => {
                Self(Box::new(TcpStream::connect(address).await.unwrap()))
            }
            ListenAddress::Unix(path) => Self(Box::new(UnixStream::connect(path).await.unwrap())),
            ListenAddress::Udp(_) => panic!("the admin interface takes no datagrams"),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// All that comes until the end of the connection.
    pub(crate) async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        Answer::parse(&self.read_to_end().await.unwrap())
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        let status = head.strip_prefix("HTTP/1.").unwrap()[2..5].parse().unwrap();
        Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// The value of a field that the head has once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        });
        let value = values.next();
        assert!(values.next().is_none(), "{name} comes twice: {}", self.head);
        value
    }
}

/// Sends `bytes` on a connection of their own.
pub(crate) async fn exchange(address: &ListenAddress, bytes: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(address).await;
    client.send(bytes).await;
    client.answer().await
}

/// An ordinary request.
pub(crate) async fn request(address: &ListenAddress, method: &str, path: &str) -> Answer {
    exchange(
        address,
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    )
    .await
}
