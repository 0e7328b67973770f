//! What the fuzz targets reach into; not for others.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use tokio::io::AsyncWriteExt;

use crate::broker::{GrpcBroker, Identical, Mode};
use crate::logs::{self, LogConfig};
use crate::mux::Mux;
use crate::net::{Io, ListenerConfig, ListenerKind};
use crate::proto::ConnInfo;
use crate::services::Services;

fn block_on(work: impl Future<Output = ()>) {
    // A runtime that cannot be made says nothing about the input.
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        runtime.block_on(work);
    }
}

/// Reads a log that comes in pieces; the first byte says how large they are. Panics if a line is longer than it may be.
pub fn log(data: &[u8]) {
    const LONGEST: usize = 1024;
    let Some((size, text)) = data.split_first() else {
        return;
    };
    let longest = Arc::new(Mutex::new(0));
    let config = {
        let longest = Arc::clone(&longest);
        LogConfig::new()
            .longest_line(LONGEST)
            .lines_per_second(u32::MAX)
            .sink(move |line| {
                if let Ok(mut longest) = longest.lock() {
                    *longest = line.message.len().max(*longest);
                }
            })
    };
    block_on(async {
        let (mut write, read) = tokio::io::duplex(usize::from(*size).max(1));
        let reading = logs::read(read, "fuzz".into(), config, None, Arc::default());
        let writing = async {
            let _ = write.write_all(text).await;
            drop(write);
        };
        tokio::join!(reading, writing);
    });
    // A byte that is no text becomes three, U+FFFD.
    assert!(longest.lock().is_ok_and(|longest| *longest <= 3 * LONGEST));
}

/// Feeds length-prefixed messages to a broker, in the mode that the first byte says, and looks at what it answers.
pub fn broker(data: &[u8]) {
    let Some((mode, mut messages)) = data.split_first() else {
        return;
    };
    block_on(async {
        let mode = match mode & 1 {
            0 => Mode::Classic(ListenerConfig {
                kind: ListenerKind::Tcp { min: 0, max: 0 },
            }),
            _ => {
                let Ok((own, _peer)) = tokio::net::UnixStream::pair() else {
                    return;
                };
                Mode::Multiplexed(Mux::client(Io::Unix(own)))
            }
        };
        let broker = GrpcBroker::new(mode, None, Arc::new(Identical));
        let _server = broker.serve(1, Services::new()).await;
        while let Ok(message) = ConnInfo::decode_length_delimited(&mut messages) {
            broker.receive(message);
        }
        tokio::task::yield_now().await;
        let dialled = tokio::time::timeout(Duration::from_millis(1), broker.dial(2));
        let _ = dialled.await;
        broker.close();
        assert!(broker.peer_addresses().len() <= 1024);
    });
}
