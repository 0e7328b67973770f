//! What the contexts of all levels share, written once.

/// Methods that come from [`RecordHost`](crate::host::RecordHost).
macro_rules! record_methods {
    () => {
        /// Writes a log line. Never waits for whoever reads it.
        pub fn log(&self, level: crate::host::Level, message: &str) {
            self.host.log(level, message);
        }

        /// True when log lines of this level are written at all: ask before making a costly one.
        #[must_use]
        pub fn log_enabled(&self, level: crate::host::Level) -> bool {
            self.host.log_enabled(level)
        }

        /// Adds to a counter.
        pub fn count(&self, counter: crate::metrics::Counter, amount: u32) {
            self.host.add_metric(counter.0, i64::from(amount));
        }

        /// Adds to a gauge, or takes from it.
        pub fn add_gauge(&self, gauge: crate::metrics::Gauge, amount: i64) {
            self.host.add_metric(gauge.0, amount);
        }

        /// The current value of a counter or gauge, over all workers. For extensions whose own interface reads metrics;
        /// it looks at every worker's count and is not free.
        #[must_use]
        pub fn metric(&self, metric: crate::metrics::MetricId) -> i64 {
            self.host.metric(metric)
        }

        /// Records a duration.
        pub fn observe(&self, histogram: crate::metrics::Histogram, duration: std::time::Duration) {
            self.host.observe_metric(histogram.0, duration);
        }

        /// Records a plain number: a size, a count.
        pub fn observe_value(&self, distribution: crate::metrics::Distribution, value: u64) {
            self.host.observe_value(distribution.0, value);
        }

        /// Shared data of the process.
        #[must_use]
        pub fn shared(&self) -> &crate::shared::SharedData {
            self.host.shared()
        }
    };
}

/// Methods that come from [`AsyncHost`](crate::host::AsyncHost).
macro_rules! async_methods {
    () => {
        /// A handle that wakes this filter from any thread.
        pub fn resumer(&mut self) -> crate::event::Resumer {
            self.host.resumer()
        }

        /// Sets a timer; [`Event::Timer`](crate::event::Event::Timer) comes when it has run out. Resolution 1 ms.
        pub fn set_timer(&mut self, after: std::time::Duration) -> crate::event::TimerId {
            self.host.set_timer(after)
        }

        /// Drops a timer. One that has run out is ignored.
        pub fn cancel_timer(&mut self, timer: crate::event::TimerId) {
            self.host.cancel_timer(timer);
        }

        /// Starts an HTTP call to a cluster that the extension named in its configuration. Its end, good or bad, is
        /// an [`Event::Callout`](crate::event::Event::Callout), never a call made during this one.
        pub fn http_call(
            &mut self,
            call: crate::callout::HttpCall,
        ) -> Result<crate::callout::CalloutId, crate::callout::CalloutError> {
            self.host.http_call(call)
        }

        /// Starts a unary gRPC call; otherwise like [`http_call`](Self::http_call).
        pub fn grpc_call(
            &mut self,
            call: crate::callout::GrpcCall,
        ) -> Result<crate::callout::CalloutId, crate::callout::CalloutError> {
            self.host.grpc_call(call)
        }

        /// Opens a streaming gRPC call; [`Event::Grpc`](crate::event::Event::Grpc) tells what comes on it. Its cluster must
        /// speak HTTP/2: until one does, the answer is
        /// [`Unsupported`](crate::callout::CalloutError::Unsupported).
        pub fn grpc_open(
            &mut self,
            open: crate::callout::GrpcOpen,
        ) -> Result<crate::callout::CalloutId, crate::callout::CalloutError> {
            self.host.grpc_open(open)
        }

        /// Sends a message on a streaming gRPC call; with `end`, the last.
        pub fn grpc_send(
            &mut self,
            call: crate::callout::CalloutId,
            message: &[u8],
            end: bool,
        ) -> Result<(), crate::callout::CalloutError> {
            self.host.grpc_send(call, message, end)
        }

        /// Drops a callout: its end is not told.
        pub fn cancel_callout(&mut self, callout: crate::callout::CalloutId) {
            self.host.cancel_callout(callout);
        }
    };
}

/// Methods that come from [`InfoHost`](crate::host::InfoHost).
macro_rules! info_methods {
    () => {
        /// An attribute by its name; [`attribute`](crate::value::attribute) lists those that there are.
        #[must_use]
        pub fn attribute(&self, name: &str) -> Option<crate::value::Attribute<'_>> {
            self.host.attribute(name)
        }

        /// The client's address, as a trusted proxy before this one tells it; `None` for a Unix socket. Streams of one
        /// connection may have different ones.
        #[must_use]
        pub fn source_address(&self) -> Option<std::net::SocketAddr> {
            self.host.source_address()
        }

        /// A value of dynamic metadata.
        #[must_use]
        pub fn metadata(&self, namespace: &str, key: &str) -> Option<&crate::value::MetadataValue> {
            self.host.metadata(namespace, key)
        }

        /// All values of a namespace of dynamic metadata.
        #[must_use]
        pub fn metadata_namespace(
            &self,
            namespace: &str,
        ) -> Option<&std::collections::BTreeMap<String, crate::value::MetadataValue>> {
            self.host.metadata_namespace(namespace)
        }

        /// Sets a value of dynamic metadata: for later filters and the access log.
        pub fn set_metadata(
            &mut self,
            namespace: &str,
            key: &str,
            value: impl Into<crate::value::MetadataValue>,
        ) {
            self.host.set_metadata(namespace, key, value.into());
        }

        /// Adds to the response flags, which tell in a few letters what happened: for the access log and the attribute
        /// [`RESPONSE_FLAGS`](crate::attribute::RESPONSE_FLAGS).
        pub fn add_response_flags(&mut self, flags: crate::flags::ResponseFlags) {
            self.host.add_response_flags(flags);
        }

        /// State that filters leave for each other here.
        pub fn filter_state(&mut self) -> &mut crate::value::FilterState {
            self.host.filter_state()
        }

        /// State of the connection.
        pub fn connection_state(&mut self) -> &mut crate::value::FilterState {
            self.host.connection_state()
        }
    };
}

pub(crate) use {async_methods, info_methods, record_methods};
