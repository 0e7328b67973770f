//! What an `http` filter believes and tells, as it is read and as it is shown.

use serde_json::json;
use transom_config::{
    Configuration, Forwarded, ForwardedMode, HopOptions, RequestId, Server, Trace, Trust, check_str,
};

use crate::registry::registry;

fn load(options: &str) -> Configuration {
    let file = format!(
        "
listeners:
  - name: in
    address: 127.0.0.1:1
    network_filters:
      - name: http
        config:
          virtual_hosts:
            - domains: ['*']
              metadata: {{app: {{tier: 1}}}}
              routes:
                - match: {{prefix: /}}
                  cluster: up
                  metadata: {{app: {{name: a, deep: {{list: [1.5, true, null, x]}}}}, other: {{}}}}
{options}
clusters: [{{name: up, endpoints: ['127.0.0.1:2']}}]
"
    );
    check_str("test.yaml", &file, &registry()).unwrap()
}

fn hop(options: &str) -> HopOptions {
    let configuration = load(options);
    configuration.resources.listeners["in"]
        .http()
        .unwrap()
        .hop
        .clone()
}

#[test]
fn by_default_nobody_is_believed_and_nothing_told() {
    let hop = hop("");
    assert_eq!(hop, HopOptions::default());
    assert_eq!(hop.forwarded.mode, ForwardedMode::Sanitise);
    assert_eq!(hop.trust, Trust::Nobody);
}

#[test]
fn all_of_it_is_read() {
    let read = hop("
          forwarded: {mode: set, trusted_networks: [10.0.0.0/8, '::1'], host: true, port: true}
          request_id: {generate: false, preserve: true, in_response: true}
          trace: {generate: true, sample: 0.5, span: true, trusted_only: true}
          via: 'edge-1:80'
          server: {name: transom, overwrite: true}");
    let expected = HopOptions {
        trust: Trust::Networks(vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]),
        forwarded: Forwarded {
            mode: ForwardedMode::Set,
            host: true,
            port: true,
        },
        request_id: Some(RequestId {
            generate: false,
            preserve: true,
            in_response: true,
        }),
        trace: Some(Trace {
            generate: true,
            sample: 0.5,
            span: true,
            trusted_only: true,
        }),
        via: Some("edge-1:80".to_owned()),
        server: Some(Server {
            name: "transom".to_owned(),
            overwrite: true,
        }),
    };
    assert_eq!(read, expected);
    let short = hop("
          forwarded: {trusted_hops: 2}
          request_id: {}
          trace: {}");
    assert_eq!(short.trust, Trust::Hops(2));
    assert!(
        short
            .request_id
            .is_some_and(|id| id.generate && !id.preserve && !id.in_response)
    );
    assert!(
        short
            .trace
            .is_some_and(|trace| !trace.generate && trace.sample == 100.0 && !trace.span)
    );
}

#[test]
fn all_of_it_is_shown() {
    let configuration = load(
        "
          forwarded: {mode: append, trusted_hops: 1}
          trace: {sample: 10}",
    );
    let dump = configuration.dump();
    let http = &dump["listeners"][0]["network_filters"][0]["config"];
    let http = if http.is_null() {
        &dump["listeners"][0]["network_filters"][0]
    } else {
        http
    };
    assert_eq!(
        http["forwarded"],
        json!({"mode": "append", "trusted_hops": 1, "trusted_networks": [], "host": false, "port": false})
    );
    assert_eq!(http["request_id"], json!(null));
    assert_eq!(http["trace"]["sample"], json!(10.0));
    let host = &dump["route_tables"][0]["virtual_hosts"][0];
    assert_eq!(host["metadata"], json!({"app": {"tier": 1.0}}));
    assert_eq!(
        host["routes"][0]["metadata"],
        json!({"app": {"name": "a", "deep": {"list": [1.5, true, null, "x"]}}, "other": {}})
    );
}
