//! What is done with the head of a request by itself: for `benches/hop.rs`, and no part of the crate's interface.

use transom_config::HopOptions;
use transom_http1::{Limits, RequestDecoder};

use super::{Arrival, Hop};
use crate::http::head::{Head, Pseudo};
use crate::stream::info::ConnectionInfo;
use crate::worker::entropy::Entropy;

/// A listener's options, a connection, and a request on it.
#[derive(Debug)]
pub struct HopCost {
    hop: Hop,
    connection: ConnectionInfo,
    entropy: Entropy,
    request: Vec<u8>,
    head: Head,
}

impl HopCost {
    /// A request with these lines behind its first, on a connection that comes from 127.0.0.1.
    ///
    /// # Errors
    /// What the codec says of a request that is none.
    pub fn new(options: &HopOptions, lines: &str) -> Result<Self, transom_http1::DecodeError> {
        let mut cost = Self {
            hop: Hop::new(options),
            connection: ConnectionInfo {
                source: Some(([127, 0, 0, 1], 40_000).into()),
                ..ConnectionInfo::of_nobody()
            },
            entropy: Entropy::default(),
            request: format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n").into_bytes(),
            head: Head::default(),
        };
        cost.decode()?;
        Ok(cost)
    }

    /// Decodes the request, which is what the other is measured beside.
    ///
    /// # Errors
    /// None, as [`HopCost::new`] has decoded it.
    pub fn decode(&mut self) -> Result<(), transom_http1::DecodeError> {
        self.head.clear();
        let mut decoder = RequestDecoder::new(Limits::default());
        let (consumed, _) = decoder.decode(&self.request, &mut self.head.filler())?;
        let bytes = self.request.get(..consumed).unwrap_or_default();
        self.head.adopt(bytes);
        self.head.set_pseudo(Pseudo::Scheme, b"http");
        Ok(())
    }

    /// Does with its head what the listener does.
    pub fn receive(&mut self) {
        let told = self.head.tells_of_client();
        if !told && !self.hop.adds {
            return;
        }
        let arrival = Arrival {
            connection: &self.connection,
            protocol: "HTTP/1.1",
            entropy: &self.entropy,
            random: &|| 0,
        };
        self.hop.believe(told, &arrival, &mut self.head);
    }
}
