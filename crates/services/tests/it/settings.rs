//! Mistakes in configurations are told at their place, with what to do.

use transom_api::Registry;
use transom_config::check_str;

fn report(filter: &str) -> String {
    let mut registry = Registry::new();
    transom_filters::register(&mut registry).unwrap();
    transom_services::register(&mut registry).unwrap();
    let text = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  network_filters:\n  - name: http\n    config:\n      stream_filters:\n      - {filter}\n      virtual_hosts: [{{domains: [\"*\"], routes: []}}]\nclusters: []\n"
    );
    match check_str("test.yaml", &text, &registry) {
        Ok(_) => String::new(),
        Err(report) => report.render(false),
    }
}

#[test]
fn each_mistake_has_its_message() {
    let good = "grpc: {address: 127.0.0.1:9000}";
    assert_eq!(
        report(&format!("{{name: ext_proc, config: {{{good}}}}}")),
        ""
    );
    assert_eq!(
        report(&format!("{{name: ext_authz, config: {{{good}}}}}")),
        ""
    );
    for (filter, message, help) in [
        ("{name: ext_proc}", "`grpc`", ""),
        (
            "{name: ext_proc, config: {grpc: {}}}",
            "no address of the server is given",
            "write address: 127.0.0.1:9000",
        ),
        (
            "{name: ext_proc, config: {grpc: {address: localhost}}}",
            "\"localhost\" is no address of a server",
            "write an IP address and a port",
        ),
        (
            "{name: ext_proc, config: {grpc: {address: \"127.0.0.1:0\"}}}",
            "port 0",
            "from 1 to 65535",
        ),
        (
            "{name: ext_proc, config: {grpc: {address: \"127.0.0.1:9\", metadata: {te: x}}}}",
            "`te` cannot be set on a call",
            "names are those of HTTP fields",
        ),
        (
            "{name: ext_proc, config: {grpc: {address: \"127.0.0.1:9\"}, processing_mode: {request_body_mode: buffer}}}",
            "\"buffer\" is no mode of a body",
            "did you mean `buffered`?",
        ),
        (
            "{name: ext_proc, config: {grpc: {address: \"127.0.0.1:9\"}, processing_mode: {request_body_mode: full_duplex_streamed}}}",
            "full_duplex_streamed needs headers and trailers",
            "set request_trailer_mode: send",
        ),
        (
            "{name: ext_proc, config: {grpc: {address: \"127.0.0.1:9\"}, message_timeout: 0s}}",
            "longer than nothing",
            "",
        ),
        (
            "{name: ext_proc, config: {grpc: {address: \"127.0.0.1:9\"}, observability_mode: true, processing_mode: {request_body_mode: buffered}}}",
            "only watches",
            "use the mode streamed",
        ),
        ("{name: ext_authz}", "no service is given", "write grpc:"),
        (
            "{name: ext_authz, config: {http: {cluster: gone}}}",
            "gone",
            "",
        ),
        (
            "{name: ext_authz, config: {grpc: {address: \"127.0.0.1:9\", tls: {certificate: a.pem}}}}",
            "`certificate` and `key` belong together",
            "give both, or neither",
        ),
    ] {
        let report = report(filter);
        assert!(report.contains(message), "{filter}\n{report}");
        assert!(report.contains(help), "{filter}\n{report}");
        assert!(report.contains("test.yaml:"), "{filter}\n{report}");
    }
}
