//! What comes back later: posts from other threads, timers, callouts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use transom_abi::{self as abi, Handle, Status};
use transom_api::event::{Address, Inbox, Message};
use transom_api::{
    CalloutDone, CalloutError, CalloutId, CalloutResponse, Direction, Event, HttpCall, ResetReason,
    Resumer, TimerId,
};

use super::host::{bytes_of, call, done, items_of, slice_of};

/// The posts to one filter, or to one worker's part. The host carries numbers only: what belongs to them waits here.
pub(crate) struct Posts {
    host: *mut abi::Resumer,
    waiting: Mutex<(u64, VecDeque<(u64, Message)>)>,
}

// SAFETY: The border says that a resumer may be used from any thread.
unsafe impl Send for Posts {}
// SAFETY: As above.
unsafe impl Sync for Posts {}

impl Posts {
    /// Takes the message that the host's number stands for.
    pub(crate) fn take(&self, number: u64) -> Option<Message> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let at = waiting.1.iter().position(|(known, _)| *known == number)?;
        waiting.1.remove(at).map(|(_, message)| message)
    }
}

impl Inbox for Posts {
    fn post(&self, _to: Address, message: Message) {
        if self.host.is_null() {
            return;
        }
        // Held through the post, so that the host's order is the one in which they wait.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 += 1;
        let number = waiting.0;
        waiting.1.push_back((number, message));
        call!(resumer_post(self.host.cast_const(), number));
    }
}

impl Drop for Posts {
    fn drop(&mut self) {
        if !self.host.is_null() {
            call!(resumer_free(self.host));
        }
    }
}

/// Of a filter or a worker's part; made when it first asks for a resumer.
#[derive(Default)]
pub(crate) struct Later(Option<Arc<Posts>>);

impl Later {
    pub(crate) fn resumer(&mut self, handle: Handle) -> Resumer {
        let posts = self.0.get_or_insert_with(|| {
            Arc::new(Posts {
                host: call!(resumer_new(handle)),
                waiting: Mutex::default(),
            })
        });
        // The host's own resumer knows the address.
        let nowhere = Address {
            slot: 0,
            generation: 0,
            filter: 0,
        };
        Resumer::new(Arc::clone(posts) as Arc<dyn Inbox>, nowhere)
    }

    /// An event as the interface has it. None for one that this SDK does not know.
    ///
    /// # Safety
    ///
    /// `event` must be null or what the host shows.
    pub(crate) unsafe fn event(&self, event: *const abi::Event) -> Option<Event> {
        // SAFETY: Promised by the caller.
        let event = unsafe { event.as_ref() }?;
        Some(match event.kind {
            abi::EVENT_RESUMED => Event::Resumed(self.0.as_ref()?.take(event.number)?),
            abi::EVENT_TIMER => Event::Timer(TimerId(event.number)),
            abi::EVENT_CALLOUT => Event::Callout(CalloutDone {
                id: CalloutId(event.number),
                // SAFETY: As above.
                result: unsafe { event.callout.as_ref() }.map(callout)?,
            }),
            abi::EVENT_ABOVE_WATERMARK | abi::EVENT_BELOW_WATERMARK => Event::Watermark {
                direction: match abi::direction_of(event.number) {
                    abi::REQUEST => Direction::Request,
                    _ => Direction::Response,
                },
                above: event.kind == abi::EVENT_ABOVE_WATERMARK,
            },
            abi::EVENT_RESET => Event::Reset(match event.number {
                0 => ResetReason::Downstream,
                1 => ResetReason::Upstream,
                3 => ResetReason::Timeout,
                _ => ResetReason::Local,
            }),
            abi::EVENT_DRAIN => Event::Drain,
            _ => return None,
        })
    }
}

fn callout(callout: &abi::Callout) -> Result<CalloutResponse, CalloutError> {
    let owned = |first, count| {
        // SAFETY: The host's list, which holds for the call.
        let fields: &[abi::Field] = unsafe { items_of(first, count) };
        let fields = fields.iter();
        fields
            // SAFETY: As above.
            .map(|field| unsafe {
                (
                    bytes_of(field.name).to_vec(),
                    bytes_of(field.value).to_vec(),
                )
            })
            .collect()
    };
    Err(match callout.error {
        0 => {
            return Ok(CalloutResponse {
                headers: owned(callout.fields, callout.field_count),
                // SAFETY: As above.
                body: unsafe { bytes_of(callout.body) }.to_vec(),
                trailers: owned(callout.trailers, callout.trailer_count),
            });
        }
        1 => CalloutError::NotAllowed,
        2 => CalloutError::NoCluster,
        3 => CalloutError::Unsupported,
        4 => CalloutError::BadRequest,
        6 => CalloutError::Timeout,
        7 => CalloutError::Reset,
        8 => CalloutError::TooLarge,
        _ => CalloutError::Unavailable,
    })
}

pub(crate) fn set_timer(handle: Handle, after: Duration) -> TimerId {
    let mut timer = 0;
    // A timer never runs out early.
    let after = after.as_nanos().div_ceil(1_000_000);
    call!(timer_set(
        handle,
        u64::try_from(after).unwrap_or(u64::MAX),
        &raw mut timer
    ));
    TimerId(timer)
}

pub(crate) fn http_call(handle: Handle, call: &HttpCall) -> Result<CalloutId, CalloutError> {
    let (fields, trailers) = (fields_of(&call.headers), fields_of(&call.trailers));
    let timeout = call.timeout.map_or(0, |timeout| timeout.as_millis().max(1));
    let written = abi::Call {
        size: size_of::<abi::Call>(),
        cluster: slice_of(call.cluster.as_bytes()),
        fields: fields.as_ptr(),
        field_count: fields.len(),
        body: slice_of(&call.body),
        trailers: trailers.as_ptr(),
        trailer_count: trailers.len(),
        timeout_ms: u64::try_from(timeout).unwrap_or(u64::MAX),
    };
    let mut number = 0;
    let status = call!(http_call(handle, &raw const written, &raw mut number));
    match done(status) {
        Ok(()) => Ok(CalloutId(number)),
        Err(status) => Err(callout_error(status)),
    }
}

fn fields_of(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<abi::Field> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| abi::Field {
            name: slice_of(name),
            value: slice_of(value),
        })
        .collect()
}

fn callout_error(status: Status) -> CalloutError {
    match status {
        abi::NOT_ALLOWED => CalloutError::NotAllowed,
        abi::NOT_FOUND => CalloutError::NoCluster,
        abi::BAD_ARGUMENT => CalloutError::BadRequest,
        abi::TOO_LARGE => CalloutError::TooLarge,
        _ => CalloutError::Unsupported,
    }
}
