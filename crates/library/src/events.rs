//! Events as C sees them.

use transom_abi::{self as abi, Field, Slice};
use transom_api::Direction;
use transom_api::callout::{CalloutDone, CalloutError, CalloutResponse};
use transom_api::event::{Event, ResetReason};

use crate::current::slice_of;

/// Shows an event as C sees it. One that this version of the border does not have is not told.
pub(crate) fn with_event(event: &Event, call: impl FnOnce(*const abi::Event)) {
    let (kind, number) = match event {
        Event::Resumed(message) => (abi::EVENT_RESUMED, message.token),
        Event::Timer(timer) => (abi::EVENT_TIMER, timer.0),
        Event::Callout(done) => return with_callout(done, call),
        Event::Watermark { direction, above } => {
            let kind = match above {
                true => abi::EVENT_ABOVE_WATERMARK,
                false => abi::EVENT_BELOW_WATERMARK,
            };
            let direction = match direction {
                Direction::Request => abi::REQUEST,
                Direction::Response => abi::RESPONSE,
            };
            (kind, u64::from(direction))
        }
        Event::Reset(reason) => (abi::EVENT_RESET, u64::from(reason_number(*reason))),
        Event::Drain => (abi::EVENT_DRAIN, 0),
        _ => return,
    };
    let event = event_of(kind, number, std::ptr::null());
    call(&raw const event);
}

fn event_of(kind: abi::EventKind, number: u64, callout: *const abi::Callout) -> abi::Event {
    abi::Event {
        size: size_of::<abi::Event>(),
        kind,
        reserved: 0,
        number,
        callout,
    }
}

fn with_callout(done: &CalloutDone, call: impl FnOnce(*const abi::Event)) {
    let none = CalloutResponse::default();
    let (error, answer) = match &done.result {
        Ok(answer) => (0, answer),
        Err(error) => (error_number(error), &none),
    };
    let (fields, trailers) = (fields_of(&answer.headers), fields_of(&answer.trailers));
    let body: Slice = slice_of(&answer.body);
    let callout = abi::Callout {
        size: size_of::<abi::Callout>(),
        error,
        reserved: 0,
        fields: fields.as_ptr(),
        field_count: fields.len(),
        body,
        trailers: trailers.as_ptr(),
        trailer_count: trailers.len(),
    };
    let event = event_of(abi::EVENT_CALLOUT, done.id.0, &raw const callout);
    call(&raw const event);
}

fn fields_of(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<Field> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| Field {
            name: slice_of(name),
            value: slice_of(value),
        })
        .collect()
}

fn error_number(error: &CalloutError) -> u32 {
    match error {
        CalloutError::NotAllowed => 1,
        CalloutError::NoCluster => 2,
        CalloutError::Unsupported => 3,
        CalloutError::BadRequest => 4,
        CalloutError::Timeout => 6,
        CalloutError::Reset => 7,
        CalloutError::TooLarge => 8,
        _ => 5,
    }
}

/// Who ended it.
pub(crate) fn reason_number(reason: ResetReason) -> u32 {
    match reason {
        ResetReason::Downstream => 0,
        ResetReason::Upstream => 1,
        ResetReason::Timeout => 3,
        _ => 2,
    }
}
