//! A stream of the host's, as its filter here sees it: every question goes to the host, and what it lends is lent on.

use std::any::Any;
use std::borrow::Cow;
use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use transom_abi::{self as abi, Handle, Status};
use transom_api::headers::{BodyHost, HeaderEntry, HeaderHost};
use transom_api::host::{FlowHost, InfoHost, OverrideError, StreamHost};
use transom_api::{
    Attribute, BodyError, Direction, FilterError, FilterState, HeaderError, HeaderMap, LocalReply,
    MetadataValue, Node, NodeKind, Phase, Released, ResponseFlags, RouteConfig, Wants,
};

use super::host::{NO_BYTES, bytes_of, call, call_newer, done, slice_of};
use super::json;
use super::later::Later;
use super::record::record_and_later;

/// What is kept of a stream between its callbacks.
pub(crate) struct Kept {
    pub(crate) later: Later,
    pub(crate) phase: Phase,
    /// State of this filter and stream, made when it is first asked for.
    state: Option<Box<(FilterState, FilterState)>>,
}

impl Kept {
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            later: Later::default(),
            phase,
            state: None,
        }
    }
}

/// A stream during a callback.
pub(crate) struct GuestStream<'k> {
    handle: Handle,
    later: &'k mut Later,
    state: &'k mut Option<Box<(FilterState, FilterState)>>,
    phase: Phase,
    /// Values that were made of the host's JSON. Only added to while the stream is borrowed.
    made: UnsafeCell<Vec<Rc<MetadataValue>>>,
}

impl<'k> GuestStream<'k> {
    pub(crate) fn new(handle: Handle, kept: &'k mut Kept) -> Self {
        Self {
            handle,
            later: &mut kept.later,
            state: &mut kept.state,
            phase: kept.phase,
            made: UnsafeCell::default(),
        }
    }

    fn states(&mut self) -> &mut (FilterState, FilterState) {
        self.state.get_or_insert_default()
    }
}

record_and_later!(GuestStream<'_>);

impl HeaderHost for GuestStream<'_> {
    fn header(&self, map: HeaderMap, name: &[u8], nth: usize) -> Option<Cow<'_, [u8]>> {
        let mut value = NO_BYTES;
        let status = call!(header_get(
            self.handle,
            map as u32,
            slice_of(name),
            nth,
            &raw mut value
        ));
        done(status).ok()?;
        // SAFETY: Lent until the callback's end or a change of the map, which needs this stream to be borrowed alone.
        Some(Cow::Borrowed(unsafe { bytes_of(value) }))
    }

    fn header_at(&self, map: HeaderMap, index: usize) -> Option<HeaderEntry<'_>> {
        let mut field = abi::Field {
            name: NO_BYTES,
            value: NO_BYTES,
        };
        let status = call!(header_at(self.handle, map as u32, index, &raw mut field));
        done(status).ok()?;
        // SAFETY: As above.
        let (name, value) = unsafe { (bytes_of(field.name), bytes_of(field.value)) };
        Some((Cow::Borrowed(name), Cow::Borrowed(value)))
    }

    fn set_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        let (name, value) = (slice_of(name), slice_of(value));
        header_done(call!(header_set(self.handle, map as u32, name, value)))
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        let (name, value) = (slice_of(name), slice_of(value));
        header_done(call!(header_add(self.handle, map as u32, name, value)))
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<usize, HeaderError> {
        let mut count = 0;
        let name = slice_of(name);
        header_done(call!(header_remove(
            self.handle,
            map as u32,
            name,
            &raw mut count
        )))?;
        Ok(count)
    }

    fn reason_phrase(&self) -> Option<Cow<'_, [u8]>> {
        let mut phrase = NO_BYTES;
        done(call_newer!(reason_get(self.handle, &raw mut phrase))).ok()?;
        // SAFETY: As above.
        Some(Cow::Borrowed(unsafe { bytes_of(phrase) }))
    }

    fn set_reason_phrase(&mut self, phrase: &[u8]) -> Result<(), HeaderError> {
        header_done(call_newer!(reason_set(self.handle, slice_of(phrase))))
    }
}

fn header_done(status: Status) -> Result<(), HeaderError> {
    done(status).map_err(|status| match status {
        abi::RELEASED => HeaderError::Released,
        abi::BAD_ARGUMENT => HeaderError::InvalidValue,
        abi::NOT_ALLOWED => HeaderError::Reserved,
        abi::TOO_LARGE => HeaderError::TooLarge,
        _ => HeaderError::Absent,
    })
}

impl BodyHost for GuestStream<'_> {
    fn body_chunk(&self, direction: Direction, index: usize) -> Option<Cow<'_, [u8]>> {
        let mut piece = NO_BYTES;
        let status = call!(body_piece(
            self.handle,
            direction as u32,
            index,
            &raw mut piece
        ));
        done(status).ok()?;
        // SAFETY: Lent until the callback's end or a change of the body, which needs this stream to be borrowed alone.
        Some(Cow::Borrowed(unsafe { bytes_of(piece) }))
    }

    fn body_len(&self, direction: Direction) -> usize {
        call!(body_len(self.handle, direction as u32))
    }

    fn splice_body(
        &mut self,
        direction: Direction,
        range: Range<usize>,
        insert: &[u8],
    ) -> Result<(), BodyError> {
        let len = range.end.checked_sub(range.start);
        let len = len.ok_or(BodyError::OutOfRange)?;
        let status = call!(body_splice(
            self.handle,
            direction as u32,
            range.start,
            len,
            slice_of(insert)
        ));
        done(status).map_err(|status| match status {
            abi::NOT_ALLOWED => BodyError::LengthAnnounced,
            abi::BAD_ARGUMENT => BodyError::OutOfRange,
            _ => BodyError::Absent,
        })
    }
}

fn released(status: Status) -> Result<(), Released> {
    done(status).map_err(|_| Released)
}

impl FlowHost for GuestStream<'_> {
    fn continue_stream(&mut self, direction: Direction) {
        call!(resume(self.handle, direction as u32));
    }

    fn end_with_headers(&mut self, direction: Direction) -> Result<(), Released> {
        released(call_newer!(end_with_headers(self.handle, direction as u32)))
    }

    fn hold_back(&mut self, direction: Direction, hold: bool) {
        call!(hold_back(self.handle, direction as u32, u32::from(hold)));
    }

    fn send_local_reply(&mut self, reply: LocalReply) -> Result<(), Released> {
        let fields = reply.headers.iter();
        let fields: Vec<abi::Field> = fields
            .map(|(name, value)| abi::Field {
                name: slice_of(name.as_bytes()),
                value: slice_of(value),
            })
            .collect();
        let written = abi::LocalReply {
            size: size_of::<abi::LocalReply>(),
            status: reply.status.into(),
            grpc_status: reply.grpc_status.map_or(-1, |status| status as i32),
            fields: fields.as_ptr(),
            field_count: fields.len(),
            body: slice_of(&reply.body),
            details: slice_of(reply.details.as_bytes()),
        };
        let status = call!(send_local_reply(self.handle, &raw const written));
        if status == abi::BAD_ARGUMENT {
            // What no answer can be is a mistake of the filter's, and not that something has left.
            self.fail(FilterError::broken(format!(
                "it answers with the status {}, or with a field that is none",
                reply.status
            )));
            return Ok(());
        }
        released(status)
    }

    fn skip_phase(&mut self) {
        call!(skip_phase(self.handle));
    }

    fn clear_route(&mut self) -> Result<(), Released> {
        released(call!(clear_route(self.handle)))
    }

    fn rematch_route(&mut self) -> Result<(), Released> {
        released(call!(rematch_route(self.handle)))
    }

    fn rechoose_host(&mut self) -> Result<(), Released> {
        released(call!(rechoose_host(self.handle)))
    }

    fn override_host(&mut self, host: &str, strict: bool) -> Result<(), OverrideError> {
        let address = slice_of(host.as_bytes());
        let status = call_newer!(override_host(self.handle, address, u32::from(strict)));
        done(status).map_err(|status| match status {
            abi::RELEASED => OverrideError::Released,
            abi::BAD_ARGUMENT => OverrideError::NoAddress,
            _ => OverrideError::Unsupported,
        })
    }

    fn terminate(&mut self) {
        call!(terminate(self.handle));
    }

    fn inject(&mut self, direction: Direction, bytes: &[u8], end: bool) -> Result<(), Released> {
        let status = call!(inject(
            self.handle,
            direction as u32,
            slice_of(bytes),
            u32::from(end)
        ));
        released(status)
    }

    fn forgo(&mut self, wants: Wants) {
        call!(forgo(self.handle, wants.bits()));
    }

    fn fail(&mut self, error: FilterError) {
        let why = slice_of(error.message.as_bytes());
        call!(fail(self.handle, error.status.into(), why));
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn route_config(&self) -> Option<&(dyn Any + Send + Sync)> {
        let route = call!(route_config(self.handle)).cast::<RouteConfig>();
        // SAFETY: Null, or what `prepare_route` made; the host keeps it through the callback.
        let route = unsafe { route.cast_const().as_ref() }?;
        Some(&**route)
    }
}

impl InfoHost for GuestStream<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let mut value = abi::Attribute {
            kind: 0,
            reserved: 0,
            number: 0,
            bytes: NO_BYTES,
        };
        let name = slice_of(name.as_bytes());
        done(call!(attribute(self.handle, name, &raw mut value))).ok()?;
        let nanos = Duration::from_nanos(u64::try_from(value.number).unwrap_or(0));
        Some(match value.kind {
            abi::ATTRIBUTE_BYTES => {
                // SAFETY: Lent until the callback's end.
                Attribute::Bytes(Cow::Borrowed(unsafe { bytes_of(value.bytes) }))
            }
            abi::ATTRIBUTE_INTEGER => Attribute::Int(value.number),
            abi::ATTRIBUTE_BOOL => Attribute::Bool(value.number != 0),
            abi::ATTRIBUTE_TIME => Attribute::Time(UNIX_EPOCH + nanos),
            abi::ATTRIBUTE_DURATION => Attribute::Duration(nanos),
            _ => return None,
        })
    }

    fn metadata(&self, namespace: &str, key: &str) -> Option<&MetadataValue> {
        let mut written = NO_BYTES;
        let (namespace, key) = (slice_of(namespace.as_bytes()), slice_of(key.as_bytes()));
        done(call!(metadata_get(
            self.handle,
            namespace,
            key,
            &raw mut written
        )))
        .ok()?;
        // SAFETY: Lent until the callback's end.
        let value = metadata_of(json::read(unsafe { bytes_of(written) }).ok()?);
        let value = Rc::new(value);
        let shown = Rc::as_ptr(&value);
        // SAFETY: Nobody holds a borrow of the list itself, and what it counts stays where it is as long as the stream.
        unsafe {
            (*self.made.get()).push(value);
            Some(&*shown)
        }
    }

    fn metadata_namespace(&self, _namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        // The border has values by their keys only.
        None
    }

    fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue) {
        let written = value.to_string();
        let (namespace, key) = (slice_of(namespace.as_bytes()), slice_of(key.as_bytes()));
        let written = slice_of(written.as_bytes());
        call!(metadata_set(self.handle, namespace, key, written));
    }

    fn add_response_flags(&mut self, _flags: ResponseFlags) {
        // The border does not carry them.
    }

    fn filter_state(&mut self) -> &mut FilterState {
        &mut self.states().0
    }

    fn connection_state(&mut self) -> &mut FilterState {
        &mut self.states().1
    }
}

impl StreamHost for GuestStream<'_> {}

fn metadata_of(node: Node) -> MetadataValue {
    match node.kind {
        NodeKind::Null => MetadataValue::Null,
        NodeKind::Bool(value) => MetadataValue::Bool(value),
        NodeKind::Integer(value) => MetadataValue::Number(value as f64),
        NodeKind::Float(value) => MetadataValue::Number(value),
        NodeKind::String(text) => MetadataValue::String(text),
        NodeKind::List(items) => MetadataValue::List(items.into_iter().map(metadata_of).collect()),
        NodeKind::Map(entries) => {
            let entries = entries.into_iter();
            MetadataValue::Struct(
                entries
                    .map(|(key, value)| (key.name, metadata_of(value)))
                    .collect(),
            )
        }
    }
}
