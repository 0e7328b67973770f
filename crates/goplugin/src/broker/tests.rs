//! Brokered connections refuse strangers: what the main connection's tests show from outside, shown here with a broker by itself.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::{GrpcBroker, Identical, Mode};
use crate::handshake::PluginAddr;
use crate::net::{ListenerConfig, ListenerKind};
use crate::owner::Owner;
use crate::proto::{ConnInfo, conn_info::Knock};
use crate::services::Services;
use crate::tls::{Curve, Identity, Tls};
use std::sync::Arc;

#[allow(dead_code)]
#[path = "../../tests/it/rogue.rs"]
pub(super) mod rogue;

use rogue::{Pair, acceptor, is_admitted};

/// A broker in a folder of its own that trusts one peer.
struct Own {
    broker: GrpcBroker,
    identity: Identity,
    folder: PathBuf,
}

impl Own {
    fn trusting(peer: &Pair) -> Self {
        let identity = Identity::generate(Curve::P256).unwrap();
        let tls = Tls::pinned(&identity, &peer.certificate).unwrap();
        let name = format!("broker-{}", crate::net::random_digits().unwrap());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let kind = ListenerKind::Unix {
            folder: folder.clone(),
            group: None,
        };
        let mode = Mode::Classic(ListenerConfig { kind });
        Self {
            broker: GrpcBroker::new(mode, Some(tls), Arc::new(Identical)),
            identity,
            folder,
        }
    }

    /// Serves something and lets a peer with this identity, or none, knock.
    async fn admits(&self, identity: Option<&Pair>) -> bool {
        let _server = self.broker.serve(1, Services::new()).await.unwrap();
        let info = self.broker.outbox().next().unwrap();
        let stream = UnixStream::connect(info.address).await.unwrap();
        is_admitted(stream, identity, self.identity.certificate()).await
    }

    /// Dials a peer that presents this identity, or no TLS at all.
    async fn stays_with(&self, presented: Option<&Pair>) -> bool {
        let path = self.folder.join("peer");
        let listener = UnixListener::bind(&path).unwrap();
        let acceptor = presented.map(acceptor);
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            match acceptor {
                Some(acceptor) => {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                }
                None => {
                    let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        });
        self.broker.receive(ConnInfo {
            service_id: 7,
            network: "unix".into(),
            address: path.display().to_string(),
            knock: None,
        });
        let dialled = self.broker.dial(7).await;
        serving.abort();
        dialled.is_ok()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn a_brokered_server_admits_its_peer() {
    let peer = Pair::new();
    assert!(Own::trusting(&peer).admits(Some(&peer)).await);
}

#[tokio::test]
async fn a_brokered_server_refuses_a_client_without_certificate() {
    assert!(!Own::trusting(&Pair::new()).admits(None).await);
}

#[tokio::test]
async fn a_brokered_server_refuses_another_certificate() {
    assert!(!Own::trusting(&Pair::new()).admits(Some(&Pair::new())).await);
}

#[tokio::test]
async fn a_brokered_server_refuses_the_right_certificate_with_a_wrong_key() {
    let peer = Pair::new();
    let forged = peer.with_key_of(&Pair::new());
    assert!(!Own::trusting(&peer).admits(Some(&forged)).await);
}

#[tokio::test]
async fn a_dialled_server_is_its_peer_or_refused() {
    let peer = Pair::new();
    assert!(Own::trusting(&peer).stays_with(Some(&peer)).await);
    assert!(!Own::trusting(&peer).stays_with(None).await);
    assert!(!Own::trusting(&peer).stays_with(Some(&Pair::new())).await);
    let forged = peer.with_key_of(&Pair::new());
    assert!(!Own::trusting(&peer).stays_with(Some(&forged)).await);
}

/// An address of the peer's word is dialled only if the peer listens there.
#[tokio::test]
async fn a_dialled_socket_must_be_the_peers() {
    struct Owned(Owner);
    impl super::Translate for Owned {
        fn incoming(&self, address: PluginAddr) -> std::io::Result<PluginAddr> {
            Ok(address)
        }
        fn outgoing(&self, address: PluginAddr) -> std::io::Result<PluginAddr> {
            Ok(address)
        }
        fn owner(&self) -> Owner {
            self.0
        }
    }
    let name = format!("broker-{}", crate::net::random_digits().unwrap());
    let path = std::env::temp_dir().join(name);
    let _listener = UnixListener::bind(&path).unwrap();
    // This process listens; in the second round the peer is a process that is not there.
    for (peer, stays) in [(std::process::id(), true), (i32::MAX as u32, false)] {
        let kind = ListenerKind::Tcp { min: 0, max: 0 };
        let mode = Mode::Classic(ListenerConfig { kind });
        let broker = GrpcBroker::new(mode, None, Arc::new(Owned(Owner::process(peer))));
        broker.receive(ConnInfo {
            service_id: 7,
            network: "unix".into(),
            address: path.display().to_string(),
            knock: None,
        });
        let dialled = broker.dial(7).await;
        assert_eq!(dialled.is_ok(), stays);
        if let Err(error) = dialled {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        }
    }
    std::fs::remove_file(path).unwrap();
}

/// Whatever messages come, in whatever order, nothing panics and nothing grows without bound.
#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_is_bounded() {
    let peer = Pair::new();
    let own = Own::trusting(&peer);
    for number in 0..20_000_u32 {
        let knock = match number % 4 {
            0 => None,
            1 => Some((true, false)),
            2 => Some((true, true)),
            _ => Some((false, true)),
        };
        own.broker.receive(ConnInfo {
            service_id: number / 4,
            network: ["unix", "tcp", "udp", ""][number as usize % 4].into(),
            address: "/nowhere".into(),
            knock: knock.map(|(knock, ack)| Knock {
                knock,
                ack,
                error: String::new(),
            }),
        });
    }
    assert!(own.broker.peer_addresses().len() <= super::MAX_ADDRESSES);
    assert!(own.broker.dial(1_000_000).await.is_err());
}
