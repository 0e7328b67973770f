//! The data plane in this process, with one listener before one upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use transom_api::Registry;
use transom_config::check_str;
use transom_proxy::{Proxy, Settings};

/// A proxy that serves until it is dropped.
pub(crate) struct RunningProxy {
    proxy: Proxy,
    control: Runtime,
    pub(crate) address: SocketAddr,
}

impl RunningProxy {
    /// One worker, everything as it is by default.
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        let mut registry = Registry::new();
        transom_filters::register(&mut registry)
            .expect("the built-in filters have different names");
        let text = format!(
            r#"
listeners:
  - name: ingress
    address: 127.0.0.1:0
    network_filters:
      - name: http
        config:
          virtual_hosts:
            - domains: ["*"]
              routes: [{{match: {{prefix: /}}, cluster: backend}}]
clusters:
  - {{name: backend, endpoints: ["{upstream}"]}}
"#
        );
        let configuration = check_str("hostile tests", &text, &registry)
            .unwrap_or_else(|report| panic!("{report}"));
        let control = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("an event loop");
        let proxy = Proxy::start(Settings {
            workers: 1,
            registry: Arc::new(registry),
        })
        .expect("a worker");
        control
            .block_on(proxy.apply(&configuration.resources))
            .unwrap_or_else(|error| panic!("{error:?}"));
        let address = proxy.address("ingress").expect("the listener is bound");
        Self {
            proxy,
            control,
            address,
        }
    }

    /// Ends it: no connection of its own is open afterwards.
    pub(crate) fn stop(self) {
        self.control.block_on(self.proxy.drain(Duration::ZERO));
        self.proxy.stop();
    }
}
