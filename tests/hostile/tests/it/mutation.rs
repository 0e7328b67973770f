//! Inputs near to those of the table: seeded, so that a run can be repeated.

use crate::table::{ROWS, Row};

/// Messages that are good, so that a mutation of them meets one rule and not three.
pub(crate) const MESSAGES: &[&[u8]] = &[
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nGET /b HTTP/1.0\r\nHost: b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: v\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, x\r\nX: 1\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET http://a/b HTTP/1.1\r\nHost: a\r\nX:  y \t\r\nTE: trailers\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PUT /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcHEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /n HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// What faults are made of.
const SPLINTERS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"  ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"0",
    b"00",
    b"5",
    b"f",
    b"g",
    b"_",
    b"+",
    b"-",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"#",
    b"%00",
    b"%2e",
    b"a",
    b"<",
    b"`",
    b"{",
    b"|",
    b"^",
    b"\\",
    b"[",
    b"]",
    b"@",
    b"?",
    b"*",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"http/1.1",
    b"Host: a\r\n",
    b"Host: b\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"chunked",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: y\r\n",
    b"Expect: 100-continue\r\n",
    b"Trailer: x\r\n",
    b"X: 1\r\n",
    b"\r\n X: 1",
    b"1\r\na\r\n",
    b"0\r\n\r\n",
];

/// A stream of inputs that follows from its seed.
pub(crate) struct Mutations {
    /// Rows of the table that are not large.
    rows: Vec<Vec<u8>>,
    state: u64,
}

impl Mutations {
    pub(crate) fn new(seed: u64) -> Self {
        let rows = ROWS.iter().map(Row::input);
        Self {
            rows: rows.filter(|input| input.len() < 4096).collect(),
            state: seed,
        }
    }

    /// The next input: a message or a row with one to three changes.
    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        let mut bytes = if self.below(2) == 0 {
            MESSAGES[self.below(MESSAGES.len())].to_vec()
        } else {
            let row = self.below(self.rows.len());
            self.rows[row].clone()
        };
        for _ in 0..=self.below(3) {
            let start = self.below(bytes.len() + 1);
            // Mostly something is put in; sometimes bytes go, sometimes a piece comes twice.
            let end = (start + self.below(4)).min(bytes.len());
            match self.below(8) {
                0 => drop(bytes.drain(start..end)),
                1 => {
                    let end = (start + self.below(40)).min(bytes.len());
                    let twice = bytes[start..end].to_vec();
                    bytes.splice(start..start, twice);
                }
                _ => {
                    let splinter = SPLINTERS[self.below(SPLINTERS.len())];
                    let end = if self.below(2) == 0 { start } else { end };
                    bytes.splice(start..end, splinter.iter().copied());
                }
            }
        }
        bytes
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014), below a bound.
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % bound as u64) as usize
    }
}
