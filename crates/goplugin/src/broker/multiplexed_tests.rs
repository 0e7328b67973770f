//! As `tests`, for brokered connections that are streams of the one socket.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::tests::rogue::{Pair, acceptor, is_admitted};
use super::{GrpcBroker, Identical, Mode};
use crate::mux::{Mux, MuxStream};
use crate::net::Io;
use crate::proto::{ConnInfo, conn_info::Knock};
use crate::services::Services;
use crate::tls::{Curve, Identity, Tls};

/// A host's broker that trusts one peer, and the other end of its socket in the hands of whoever is there.
struct Own {
    broker: GrpcBroker,
    identity: Identity,
    other_end: Mux,
    streams: mpsc::Receiver<MuxStream>,
}

fn message(service_id: u32, ack: bool) -> ConnInfo {
    ConnInfo {
        service_id,
        knock: Some(Knock {
            knock: true,
            ack,
            error: String::new(),
        }),
        ..ConnInfo::default()
    }
}

impl Own {
    fn trusting(peer: &Pair) -> Self {
        let identity = Identity::generate(Curve::P256).unwrap();
        let tls = Tls::pinned(&identity, &peer.certificate).unwrap();
        let (own, other) = UnixStream::pair().unwrap();
        let (other_end, streams) = Mux::server(Io::Unix(other));
        let mode = Mode::Multiplexed(Mux::client(Io::Unix(own)));
        Self {
            broker: GrpcBroker::new(mode, Some(tls), Arc::new(Identical)),
            identity,
            other_end,
            streams,
        }
    }

    /// Serves something; a peer with this identity, or none, knocks and comes.
    async fn admits(&self, identity: Option<&Pair>) -> bool {
        let _server = self.broker.serve(1, Services::new()).await.unwrap();
        self.broker.receive(message(1, false));
        assert!(self.broker.outbox().next().unwrap().knock.unwrap().ack);
        let stream = self.other_end.open().await.unwrap();
        is_admitted(stream, identity, self.identity.certificate()).await
    }

    /// Dials a peer that presents this identity, or no TLS at all.
    async fn stays_with(&mut self, presented: Option<&Pair>) -> bool {
        let acceptor = presented.map(acceptor);
        let broker = self.broker.clone();
        let serving = async {
            while broker.outbox().next().is_none() {
                tokio::task::yield_now().await;
            }
            broker.receive(message(7, true));
            let mut stream = self.streams.recv().await.unwrap();
            match acceptor {
                Some(acceptor) => {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                }
                None => {
                    use tokio::io::AsyncWriteExt;
                    let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            dialled = broker.dial(7) => dialled.is_ok(),
            () = serving => false,
        }
    }
}

#[tokio::test]
async fn a_brokered_server_admits_its_peer_and_nobody_else() {
    let peer = Pair::new();
    let forged = peer.with_key_of(&Pair::new());
    assert!(Own::trusting(&peer).admits(Some(&peer)).await);
    assert!(!Own::trusting(&peer).admits(None).await, "no certificate");
    assert!(
        !Own::trusting(&peer).admits(Some(&Pair::new())).await,
        "another"
    );
    assert!(
        !Own::trusting(&peer).admits(Some(&forged)).await,
        "wrong key"
    );
}

#[tokio::test]
async fn a_dialled_server_is_its_peer_or_refused() {
    let peer = Pair::new();
    let forged = peer.with_key_of(&Pair::new());
    assert!(Own::trusting(&peer).stays_with(Some(&peer)).await);
    assert!(!Own::trusting(&peer).stays_with(None).await, "no TLS");
    assert!(
        !Own::trusting(&peer).stays_with(Some(&Pair::new())).await,
        "another"
    );
    assert!(
        !Own::trusting(&peer).stays_with(Some(&forged)).await,
        "wrong key"
    );
}
