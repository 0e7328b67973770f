//! How a call ended.

use std::fmt;

use http::HeaderMap;

/// A status of gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its code.
    pub code: Code,
    /// Its text.
    pub message: String,
}

/// gRPC's codes, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of a number; one that is not assigned is `Unknown`, as gRPC wants it.
    #[must_use]
    pub fn of(number: u32) -> Self {
        let known = Self::ALL.into_iter().find(|code| *code as u32 == number);
        known.unwrap_or(Self::Unknown)
    }
}

impl Status {
    /// A status with a text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// True for the good end.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == Code::Ok
    }

    /// What trailers say, or headers that are trailers too. `None` when they have no `grpc-status`.
    pub(super) fn of_trailers(trailers: &HeaderMap) -> Option<Self> {
        let code = trailers.get("grpc-status")?;
        let number = code.to_str().ok().and_then(|text| text.parse().ok());
        let message = trailers.get("grpc-message");
        Some(Self {
            code: number.map_or(Code::Unknown, Code::of),
            message: message.map_or_else(String::new, |text| decode(text.as_bytes())),
        })
    }

    /// What an answer that is no gRPC means (gRPC's "HTTP to gRPC status code mapping").
    pub(super) fn of_http(status: http::StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502..=504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        Self::new(
            code,
            format!("the server answered with HTTP status {status}"),
        )
    }

    /// What an error of HTTP/2 means (gRPC's table of error codes).
    pub(super) fn of_h2(error: &h2::Error) -> Self {
        let code = match error.reason() {
            Some(h2::Reason::CANCEL) => Code::Cancelled,
            Some(h2::Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
            Some(h2::Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
            Some(h2::Reason::REFUSED_STREAM) | None => Code::Unavailable,
            Some(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gRPC status {} ({:?})", self.code as u32, self.code)?;
        if self.message.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Status {}

/// Undoes percent-encoding; what is none stays as it is.
fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_give_code_and_text() {
        let mut trailers = HeaderMap::new();
        assert_eq!(Status::of_trailers(&trailers), None);
        trailers.insert("grpc-status", "7".parse().unwrap());
        trailers.insert("grpc-message", "not%20you%2C 100%".parse().unwrap());
        let status = Status::of_trailers(&trailers).unwrap();
        assert_eq!(status, Status::new(Code::PermissionDenied, "not you, 100%"));
        trailers.insert("grpc-status", "99".parse().unwrap());
        assert_eq!(Status::of_trailers(&trailers).unwrap().code, Code::Unknown);
    }
}
