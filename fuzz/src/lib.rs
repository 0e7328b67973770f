//! What the fuzz targets share: an input taken apart, and messages as owned values that can be compared.
//!
//! Two properties hold for all bytes. The verdict does not depend on how bytes were cut on their way. And what was accepted
//! can be written as a proxy forwards it, and is then read as exactly that one message: nothing that a peer sends
//! becomes two messages, or another one, behind the proxy.

pub mod request;
pub mod response;

use transom_http1::{Field, Limits, RequestKind};

/// One run: settings in front, then the bytes of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    settings: [u8; 4],
    pub bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn of(data: &'a [u8]) -> Self {
        match data.split_first_chunk() {
            Some((settings, bytes)) => Self {
                settings: *settings,
                bytes,
            },
            None => Self {
                settings: [0; 4],
                bytes: data,
            },
        }
    }

    /// The bytes in pieces; an empty one may be among them.
    pub fn pieces(&self) -> Vec<&'a [u8]> {
        let [step, wave, ..] = self.settings.map(usize::from);
        let mut rest = self.bytes;
        let mut pieces = Vec::new();
        let mut length = step;
        while !rest.is_empty() {
            // Lengths go up and down, so that short inputs see many cuts and long ones do not take for ever.
            length = (length * 5 + wave) % 61;
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = behind;
            if length == 0 && pieces.len() % 2 == 0 {
                length = 1 + step;
            }
            if pieces.len() > 4096 {
                pieces.push(std::mem::take(&mut rest));
            }
        }
        pieces
    }

    pub fn limits(&self) -> Limits {
        let [.., flags, _] = self.settings;
        let mut limits = Limits {
            allow_bare_lf_in_head: flags & 1 != 0,
            ..Limits::default()
        };
        if flags & 2 != 0 {
            limits.fields = u16::from(flags >> 4);
            limits.head = 64 + u32::from(flags);
            limits.request_line = 16 + u32::from(flags >> 3);
        }
        limits
    }

    /// What the requests were that a server answers, the first to the last.
    pub fn kinds(&self) -> impl Iterator<Item = RequestKind> + use<> {
        let [.., kinds] = self.settings;
        (0..4).map(move |at| match (kinds >> (2 * at)) & 3 {
            0 => RequestKind::Other,
            1 => RequestKind::Head,
            2 => RequestKind::Connect,
            _ => RequestKind::Upgrade,
        })
    }

    /// What the server does after a request that wants a tunnel.
    pub fn switches(&self) -> bool {
        self.settings[2] & 4 != 0
    }
}

/// A field that goes further than one hop.
pub type OwnedField = (Vec<u8>, Vec<u8>);

/// The fields that a proxy forwards, in their order.
pub(crate) fn forwarded(fields: &[Field], input: &[u8]) -> Vec<OwnedField> {
    fields
        .iter()
        .filter(|field| !field.hop_by_hop)
        .map(|field| {
            (
                field.name.of(input).to_vec(),
                field.value.of(input).to_vec(),
            )
        })
        .collect()
}

pub(crate) fn as_slices(fields: &[OwnedField]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (&name[..], &value[..]))
}

pub(crate) fn without(fields: &[OwnedField], names: &[&str]) -> Vec<OwnedField> {
    let mut fields = fields.to_vec();
    fields.retain(|(name, _)| {
        !names
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
    });
    fields
}
