//! From what went wrong below to the gRPC status that a caller sees.

use h2::Reason;
use tonic::Status;

/// Maps a stream's or connection's end as the gRPC over HTTP/2 specification does ("Errors").
pub(super) fn from_h2(error: &h2::Error) -> Status {
    let Some(reason) = error.reason() else {
        return Status::unavailable(format!("the connection was lost: {error}"));
    };
    let text = error.to_string();
    match reason {
        Reason::NO_ERROR | Reason::REFUSED_STREAM => Status::unavailable(text),
        Reason::CANCEL => Status::cancelled(text),
        Reason::ENHANCE_YOUR_CALM => Status::resource_exhausted(text),
        Reason::INADEQUATE_SECURITY => Status::permission_denied(text),
        _ if error.is_go_away() => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

/// The status of a call whose own deadline passed.
pub(super) fn deadline() -> Status {
    Status::deadline_exceeded("the call's deadline passed")
}
