//! The control side: what a preparation may use, and the wait for its end.

use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use transom_abi::{self as abi, Handle};
use transom_api::metrics::{Definition, MetricError, MetricId, MetricKind, Metrics, MetricsHost};
use transom_api::{PrepareContext, UseBounds};

use super::host::{NO_BYTES, bytes_of, call, call_newer, done, slice_of};
use super::record;

/// What a preparation may use, for as long as it runs.
pub(crate) fn context(control: Handle) -> PrepareContext {
    let mut info = abi::UseInfo {
        size: size_of::<abi::UseInfo>(),
        instance: NO_BYTES,
        folder: NO_BYTES,
        workers: 1,
        reserved: 0,
    };
    // A host of version 1.0 does not tell.
    call_newer!(use_info(control, &raw mut info));
    // SAFETY: What the host lends until the preparation's end.
    let (instance, folder) = unsafe { (bytes_of(info.instance), bytes_of(info.folder)) };
    PrepareContext {
        instance: String::from_utf8_lossy(instance).into(),
        workers: usize::try_from(info.workers).unwrap_or(usize::MAX),
        metrics: Metrics::new(Arc::new(Defines(control))),
        shared: record::shared(control).clone(),
        folder: Arc::from(Path::new(OsStr::from_bytes(folder))),
        bounds: UseBounds::default(),
    }
}

/// Waits for a future on this thread, which is one that may wait.
pub(crate) fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        thread::park();
    }
}

struct Defines(Handle);

impl MetricsHost for Defines {
    fn define(&self, definition: &Definition<'_>) -> Result<MetricId, MetricError> {
        // The host names the use itself.
        let labels = definition
            .labels
            .iter()
            .filter(|(name, _)| *name != "filter");
        let labels: Vec<abi::Field> = labels
            .map(|(name, value)| abi::Field {
                name: slice_of(name.as_bytes()),
                value: slice_of(value.as_bytes()),
            })
            .collect();
        let metric = abi::Metric {
            size: size_of::<abi::Metric>(),
            kind: match definition.kind {
                MetricKind::Counter => abi::COUNTER,
                MetricKind::Gauge => abi::GAUGE,
                MetricKind::Histogram => abi::HISTOGRAM,
                MetricKind::Distribution => abi::DISTRIBUTION,
            },
            reserved: 0,
            name: slice_of(definition.name.as_bytes()),
            help: slice_of(definition.help.as_bytes()),
            labels: labels.as_ptr(),
            label_count: labels.len(),
        };
        let mut number = 0;
        let status = call!(metric_define(self.0, &raw const metric, &raw mut number));
        let name = definition.name;
        done(status).map_err(|status| MetricError {
            message: match status {
                abi::GONE => format!("the metric `{name}` is defined outside of a preparation"),
                _ => format!("the metric `{name}` is refused; the log tells why"),
            },
        })?;
        Ok(MetricId(number))
    }
}
