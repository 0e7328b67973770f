//! What any part of an extension may do: log, count, shared data, things that come later.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use transom_abi::{self as abi, Handle, Slice};
use transom_api::shared::{SharedData, SharedError, SharedHost, SharedValue};

use super::host::{NO_BYTES, bytes_of, call, call_newer, done, slice_of};

thread_local! {
    /// The handle that shared data was last asked for with: the border has them belong to a callback.
    static ASKED_BY: Cell<Handle> = const { Cell::new(0) };
}

/// Shared data of the process, for the callback of `handle`.
pub(crate) fn shared(handle: Handle) -> &'static SharedData {
    static SHARED: OnceLock<SharedData> = OnceLock::new();
    ASKED_BY.set(handle);
    SHARED.get_or_init(|| SharedData::new(Arc::new(Shared)))
}

struct Shared;

impl SharedHost for Shared {
    fn get(&self, key: &str) -> Option<SharedValue> {
        let mut value = NO_BYTES;
        let mut version = 0;
        let (asked_by, key) = (ASKED_BY.get(), slice_of(key.as_bytes()));
        let status = call!(shared_get(asked_by, key, &raw mut value, &raw mut version));
        done(status).ok()?;
        Some(SharedValue {
            // SAFETY: What the host lends until the callback's end.
            bytes: unsafe { bytes_of(value) }.into(),
            version,
        })
    }

    fn set(
        &self,
        key: &str,
        value: Option<&[u8]>,
        expected: Option<u32>,
    ) -> Result<(), SharedError> {
        let handle = ASKED_BY.get();
        let name: Slice = slice_of(key.as_bytes());
        let status = match (value, expected) {
            (Some(value), Some(0)) => match self.get(key) {
                Some(_) => abi::CHANGED,
                None => call!(shared_set(handle, name, slice_of(value), 0)),
            },
            (Some(value), expected) => {
                let expected = expected.unwrap_or(0);
                call!(shared_set(handle, name, slice_of(value), expected))
            }
            (None, _) => call_newer!(shared_remove(handle, name)),
        };
        match status {
            abi::OK => Ok(()),
            abi::CHANGED => Err(SharedError::Changed),
            _ => Err(SharedError::TooLarge),
        }
    }
}

/// The traits that streams and workers have alike, for a type with the fields `handle` and `later`.
macro_rules! record_and_later {
    ($type:ty) => {
        impl ::transom_api::host::RecordHost for $type {
            fn log_enabled(&self, level: ::transom_api::Level) -> bool {
                $crate::library::host::call!(log_enabled(self.handle, level as u32)) != 0
            }

            fn log(&self, level: ::transom_api::Level, message: &str) {
                $crate::library::host::write_log(self.handle, level as u32, message);
            }

            fn add_metric(&self, metric: ::transom_api::metrics::MetricId, amount: i64) {
                $crate::library::host::call!(metric_add(self.handle, metric.0, amount));
            }

            fn metric(&self, metric: ::transom_api::metrics::MetricId) -> i64 {
                let mut value = 0;
                $crate::library::host::call!(metric_get(self.handle, metric.0, &raw mut value));
                value
            }

            fn observe_metric(
                &self,
                metric: ::transom_api::metrics::MetricId,
                duration: ::std::time::Duration,
            ) {
                let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                $crate::library::host::call!(metric_observe(self.handle, metric.0, nanos));
            }

            fn observe_value(&self, metric: ::transom_api::metrics::MetricId, value: u64) {
                $crate::library::host::call!(metric_observe(self.handle, metric.0, value));
            }

            fn shared(&self) -> &::transom_api::shared::SharedData {
                $crate::library::record::shared(self.handle)
            }
        }

        impl ::transom_api::host::AsyncHost for $type {
            fn resumer(&mut self) -> ::transom_api::Resumer {
                self.later.resumer(self.handle)
            }

            fn set_timer(&mut self, after: ::std::time::Duration) -> ::transom_api::TimerId {
                $crate::library::later::set_timer(self.handle, after)
            }

            fn cancel_timer(&mut self, timer: ::transom_api::TimerId) {
                $crate::library::host::call!(timer_cancel(self.handle, timer.0));
            }

            fn http_call(
                &mut self,
                call: ::transom_api::HttpCall,
            ) -> Result<::transom_api::CalloutId, ::transom_api::CalloutError> {
                $crate::library::later::http_call(self.handle, &call)
            }

            fn grpc_call(
                &mut self,
                _call: ::transom_api::GrpcCall,
            ) -> Result<::transom_api::CalloutId, ::transom_api::CalloutError> {
                Err(::transom_api::CalloutError::Unsupported)
            }

            fn cancel_callout(&mut self, callout: ::transom_api::CalloutId) {
                $crate::library::host::call!(callout_cancel(self.handle, callout.0));
            }
        }
    };
}

pub(crate) use record_and_later;
