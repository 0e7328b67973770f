use transom_api::builtin::Builtin;
use transom_api::{Node, ParseError, Schema, StreamFilter};
use transom_config::check_str;

use super::*;

/// A filter of each phase, named after it.
#[derive(Clone)]
struct Of<const PHASE: u8>;

impl<const PHASE: u8> StreamFilter for Of<PHASE> {}

impl<const PHASE: u8> Builtin for Of<PHASE> {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object()
    }

    fn parse(_node: &Node) -> Result<Self, ParseError> {
        Ok(Self)
    }

    fn phase(&self) -> Phase {
        match PHASE {
            0 => Phase::BeforeRoute,
            1 => Phase::AfterRoute,
            _ => Phase::AfterChooseHost,
        }
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register_builtin::<Of<0>>("before").unwrap();
    registry.register_builtin::<Of<1>>("after").unwrap();
    registry.register_builtin::<Of<2>>("host").unwrap();
    registry
}

const FILE: &str = r#"
listeners:
  - name: web
    address: 127.0.0.1:2046
    network_filters:
      - name: http
        config:
          stream_filters:
            - {name: host, id: pick}
            - {name: after, id: second}
            - {name: before, id: first, on_failure: open}
            - {name: before, id: off, disabled: true}
            - {name: host, id: early, phase: before_route}
          timeouts: {stream: 7s}
          virtual_hosts:
            - name: shop
              domains: ["*.example.org", "shop.test"]
              filters:
                first: {disabled: true}
                second: {config: {}}
              routes:
                - {name: health, match: {path: /health}, cluster: one}
                - match: {prefix: /cart}
                  cluster: two
                  timeout: 1s
                  filters:
                    first: {config: {}}
                - {match: {prefix: /}, cluster: one}
            - {domains: ["*"], routes: [{match: {prefix: /only}, cluster: one}]}
  - name: raw
    address: 0.0.0.0:9000
    network_filters:
      - {name: tcp_proxy, config: {cluster: two}}
clusters:
  - {name: one, endpoints: ["127.0.0.1:8081"]}
  - name: two
    connect_timeout: 2s
    endpoints:
      - {address: "127.0.0.1:8082", weight: 3}
      - "127.0.0.1:8083"
"#;

fn ask(text: &str, request: Request<'_>) -> Result<Explanation, ExplainError> {
    let registry = registry();
    let configuration = check_str("t.yaml", text, &registry).unwrap();
    explain(&configuration.resources, &registry, &request)
}

fn request<'a>(host: &'a str, port: u16, authority: &'a str, path: &'a str) -> Request<'a> {
    Request {
        listener: None,
        destination: Some(Destination { host, port }),
        method: "GET",
        authority,
        path,
        phases: &NO_PHASES,
        fields: &[],
    }
}

fn http(explanation: Explanation) -> HttpExplanation {
    match explanation.end {
        End::Http(http) => *http,
        End::TcpProxy(_) | End::Filter(_) => panic!("the http filter"),
    }
}

fn taken(candidates: &[Candidate]) -> Vec<&str> {
    candidates
        .iter()
        .filter(|candidate| candidate.taken)
        .map(|candidate| candidate.name.as_str())
        .collect()
}

fn whys(candidates: &[Candidate]) -> Vec<&str> {
    candidates
        .iter()
        .map(|candidate| candidate.why.as_str())
        .collect()
}

#[test]
fn the_first_matching_route_is_taken_and_the_others_say_why_not() {
    let explanation = ask(
        FILE,
        request("127.0.0.1", 2046, "a.EXAMPLE.org:2046", "/cart/1?x=/health"),
    )
    .unwrap();
    assert!(explanation.is_routed());
    assert_eq!(taken(&explanation.listeners), ["web"]);
    assert_eq!(explanation.address, "127.0.0.1:2046");
    let http = http(explanation);
    assert_eq!(taken(&http.virtual_hosts), ["shop"]);
    assert_eq!(
        whys(&http.virtual_hosts),
        [
            "matches `*.example.org`",
            "matches `*` too, but another one closer"
        ]
    );
    assert_eq!(taken(&http.routes), ["#2"]);
    assert_eq!(
        whys(&http.routes),
        [
            "the path is not `/health`",
            "the path begins with `/cart`",
            "the path begins with `/`; a route before it is taken"
        ]
    );
    assert_eq!(http.timeout, Duration::from_secs(1));
    let target = Target {
        cluster: "two".to_owned(),
        load_balancing: "round_robin".to_owned(),
        connect_timeout: Duration::from_secs(2),
        hosts: vec![
            ("127.0.0.1:8082".to_owned(), 3),
            ("127.0.0.1:8083".to_owned(), 1),
        ],
    };
    assert_eq!(
        http.action,
        Some(RouteAction::Forward(Forwarded {
            targets: vec![(1, target)],
            path: None,
            authority: None,
            retry: None,
        }))
    );
}

#[test]
fn filters_stand_in_the_order_of_their_phases_with_what_the_route_says() {
    let explained = http(ask(FILE, request("127.0.0.1", 2046, "shop.test", "/cart")).unwrap());
    let filters: Vec<_> = explained
        .filters
        .iter()
        .map(|filter| (filter.name.as_str(), filter.phase.unwrap(), filter.part))
        .collect();
    assert_eq!(
        filters,
        [
            ("first", Phase::BeforeRoute, Part::Runs(Place::Route)),
            ("off", Phase::BeforeRoute, Part::Disabled(Place::Listener)),
            ("early", Phase::BeforeRoute, Part::Runs(Place::Listener)),
            ("second", Phase::AfterRoute, Part::Runs(Place::VirtualHost)),
            ("pick", Phase::AfterChooseHost, Part::Runs(Place::Listener)),
        ]
    );
    assert_eq!(explained.filters[0].on_failure, FailurePolicy::Open);
    assert_eq!(
        explained.response_order,
        ["pick", "second", "early", "first"]
    );
}

#[test]
fn responses_in_configuration_order_follow_the_file() {
    let text = FILE.replace("timeouts:", "response_order: config\n          timeouts:");
    let explained = http(ask(&text, request("127.0.0.1", 2046, "shop.test", "/")).unwrap());
    // `first` is disabled by the virtual host.
    assert_eq!(explained.response_order, ["pick", "second", "early"]);
    assert_eq!(explained.timeout, Duration::from_secs(7));
}

#[test]
fn without_a_route_no_host_is_chosen_and_nothing_is_overridden() {
    let explanation = ask(FILE, request("127.0.0.1", 2046, "other", "/")).unwrap();
    assert!(!explanation.is_routed());
    let http = http(explanation);
    assert_eq!(taken(&http.virtual_hosts), ["*"]);
    assert_eq!(whys(&http.routes), ["the path does not begin with `/only`"]);
    assert_eq!(http.action, None);
    let part = |name: &str| {
        let mut filters = http.filters.iter();
        filters.find(|filter| filter.name == name).unwrap().part
    };
    assert_eq!(part("first"), Part::Runs(Place::Listener));
    assert_eq!(part("pick"), Part::NotReached);
}

#[test]
fn a_table_without_a_host_for_all_may_have_none_for_the_request() {
    let text = FILE.replace("domains: [\"*\"]", "domains: [\"else.test\"]");
    let http = http(ask(&text, request("127.0.0.1", 2046, "nowhere", "/")).unwrap());
    assert_eq!(taken(&http.virtual_hosts), [""; 0]);
    assert_eq!(
        whys(&http.virtual_hosts),
        [
            "no domain matches: `*.example.org`, `shop.test`",
            "no domain matches: `else.test`"
        ]
    );
    assert_eq!(http.routes, []);
}

#[test]
fn a_tcp_proxy_looks_at_no_request() {
    let explanation = ask(FILE, request("192.0.2.1", 9000, "x", "/")).unwrap();
    assert!(explanation.is_routed());
    assert_eq!(taken(&explanation.listeners), ["raw"]);
    assert_eq!(
        whys(&explanation.listeners),
        ["it listens on 0.0.0.0:9000", "it listens on 127.0.0.1:2046"]
    );
    let End::TcpProxy(targets) = explanation.end else {
        panic!("a tcp_proxy");
    };
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0].target.cluster, "two");
}

#[test]
fn a_listener_on_the_very_address_goes_before_one_on_all() {
    let text = FILE.replace("0.0.0.0:9000", "0.0.0.0:2046");
    let reach = |host| {
        let explanation = ask(&text, request(host, 2046, "shop.test", "/"));
        explanation.map(|explanation| taken(&explanation.listeners)[0].to_owned())
    };
    assert_eq!(reach("127.0.0.1").unwrap(), "web");
    assert_eq!(reach("127.0.0.2").unwrap(), "raw");
    // What a name means is not looked up, so it could be either.
    let error = reach("shop.test").unwrap_err();
    assert_eq!(error.message, "more than one listener has this port");
    assert_eq!(error.help, "name one with --listener: raw, web");
}

#[test]
fn a_request_that_reaches_no_listener_says_what_there_is() {
    let error = ask(FILE, request("shop.test", 80, "shop.test", "/")).unwrap_err();
    assert_eq!(error.message, "no listener has the port 80 of shop.test");
    assert_eq!(error.help, "name one with --listener: raw, web");
    let error = ask(
        FILE,
        Request {
            listener: Some("wep"),
            destination: None,
            authority: "",
            path: "/",
            method: "GET",
            phases: &NO_PHASES,
            fields: &[],
        },
    )
    .unwrap_err();
    assert_eq!(error.message, "there is no listener `wep`");
    assert!(error.help.contains("did you mean `web`?"), "{}", error.help);
}

/// What is said here must be what is served.
#[test]
fn the_explanation_agrees_with_the_router() {
    let registry = registry();
    let configuration = check_str("t.yaml", FILE, &registry).unwrap();
    let hosts = &configuration.resources.route_tables["web/http"].virtual_hosts;
    let mut patterns = crate::router::matcher::PatternsBuilder::default();
    let hosts = hosts.iter().map(|host| {
        let routes = host.routes.iter().map(|route| crate::router::Route {
            name: None,
            matcher: crate::router::matcher::Matcher::new(&route.matcher, &mut patterns),
            action: crate::router::action::Action::DirectResponse(transom_config::DirectResponse {
                status: 200,
                body: String::new(),
            }),
            request_headers: transom_config::HeaderEdits::default(),
            response_headers: transom_config::HeaderEdits::default(),
            timeout: route.timeout,
            metadata: transom_api::Metadata::new(),
            filters: crate::router::FilterOverrides::new(),
        });
        let routes = routes.collect();
        let filters = crate::router::FilterOverrides::new();
        let of_router = crate::router::VirtualHost::new(host.name.clone(), routes, filters);
        (of_router, host.domains.clone())
    });
    let hosts = hosts.collect();
    let table = crate::router::RouteTable::new(String::new(), hosts, patterns.finish());
    let table = crate::router::Routes::new(&std::sync::Arc::new(table));
    for authority in ["a.example.org", "shop.test:1", "example.org", "", "x"] {
        for path in [
            "/", "/health", "/health?", "/healthy", "/cart", "/only/a", "*",
        ] {
            let explained = http(ask(FILE, request("127.0.0.1", 2046, authority, path)).unwrap());
            let mut head = crate::http::head::Head::default();
            head.set_pseudo(crate::http::head::Pseudo::Path, path.as_bytes());
            head.set_pseudo(crate::http::head::Pseudo::Authority, authority.as_bytes());
            let served = table
                .find(&head)
                .and_then(|index| table.route(index))
                .map(|(host, route)| (host.name.as_str(), route.timeout));
            let said = explained.action.is_some().then(|| {
                let timeout = Some(explained.timeout).filter(|it| *it != Duration::from_secs(7));
                (taken(&explained.virtual_hosts)[0], timeout)
            });
            assert_eq!(said, served, "{authority} {path}");
        }
    }
}

#[test]
fn a_route_says_all_that_holds_or_all_that_does_not() {
    let text = FILE.replace(
        "- {name: health, match: {path: /health}, cluster: one}",
        "- match: {regex: '/c.*', methods: [POST, PUT], headers: [{name: X-A, exact: a}, {name: x-b, absent: true}]}
                  cluster: one
                - match: {headers: [{name: x-a, suffix: z, invert: true}], query: [{name: q, prefix: '1'}]}
                  cluster: one
                - match: {methods: [GET], headers: [{name: x-a, prefix: b, invert: true}], query: [{name: q, regex: '[0-9]+'}]}
                  cluster: one",
    );
    let fields = [
        ("x-a".to_owned(), "xyz".to_owned()),
        ("x-b".to_owned(), String::new()),
    ];
    let explained = http(
        ask(
            &text,
            Request {
                phases: &NO_PHASES,
                fields: &fields,
                ..request("127.0.0.1", 2046, "shop.test", "/cart?q=22")
            },
        )
        .unwrap(),
    );
    assert_eq!(
        whys(&explained.routes)[..3],
        [
            "the method is not POST or PUT, the header `X-A` is not `a`, the header `x-b` is there",
            "the header `x-a` ends with `z`, as it must not, the query parameter `q` does not begin with `1`",
            "the method is GET, the header `x-a` does not begin with `b`, the query parameter `q` matches `[0-9]+`",
        ]
    );
    assert_eq!(taken(&explained.routes), ["#3"]);
    assert_eq!(explained.fields, ["x-a", "x-b"]);
}

#[test]
fn what_a_route_does_is_shown_with_this_request_filled_in() {
    let text = FILE.replace(
        "- {name: health, match: {path: /health}, cluster: one}",
        "- {match: {prefix: /old/}, redirect: {prefix: /new/, scheme: https, code: 308}}
                - {match: {path: /health}, direct_response: {status: 204}}
                - match: {regex: '/u/.*'}
                  weighted_clusters: [{cluster: one, weight: 9}, {cluster: two, weight: 1}]
                  rewrite: {regex: {pattern: /u/, substitution: /user/}, host: inner.test}",
    );
    let ask = |path| http(ask(&text, request("127.0.0.1", 2046, "shop.test", path)).unwrap());
    let explained = ask("/old/a?b");
    let location = "https://shop.test/new/a?b".to_owned();
    let redirect = RouteAction::Redirect {
        status: 308,
        location,
    };
    assert_eq!(explained.action, Some(redirect));
    let mut filters = explained.filters.iter();
    let pick = filters.find(|filter| filter.name == "pick").unwrap();
    assert_eq!(pick.part, Part::NotReached);
    assert_eq!(
        ask("/health").action,
        Some(RouteAction::DirectResponse { status: 204 })
    );
    let Some(RouteAction::Forward(forwarded)) = ask("/u/7?x").action else {
        panic!("it is sent on");
    };
    let shares = forwarded.targets.iter();
    let shares: Vec<_> = shares
        .map(|(weight, it)| (*weight, it.cluster.as_str()))
        .collect();
    assert_eq!(shares, [(9, "one"), (1, "two")]);
    assert_eq!(forwarded.path.as_deref(), Some("/user/7?x"));
    assert_eq!(forwarded.authority.as_deref(), Some("inner.test"));
}

#[test]
fn a_redirect_keeps_the_scheme_of_its_listener() {
    let text = FILE.replace(
        "- {name: health, match: {path: /health}, cluster: one}",
        "- {match: {path: /old}, redirect: {path: /new}}",
    );
    let tls = text.replace(
        "address: 127.0.0.1:2046\n",
        "address: 127.0.0.1:2046\n    tls: {certificates: [{certificate: a.pem, private_key: a.key}]}\n",
    );
    for (text, expected) in [(text, "http"), (tls, "https")] {
        let request = request("127.0.0.1", 2046, "shop.test", "/old");
        let redirect = RouteAction::Redirect {
            status: 301,
            location: format!("{expected}://shop.test/new"),
        };
        assert_eq!(http(ask(&text, request).unwrap()).action, Some(redirect));
    }
}

#[test]
fn the_asterisk_of_options_takes_the_route_for_all_paths() {
    let explained = http(ask(FILE, request("127.0.0.1", 2046, "shop.test", "*")).unwrap());
    assert_eq!(taken(&explained.routes), ["#3"]);
}

#[test]
fn routes_are_told_by_the_normalised_path() {
    let ask = |path| http(ask(FILE, request("127.0.0.1", 2046, "shop.test", path)).unwrap());
    assert_eq!(ask("/health").path, None);
    let explained = ask("/x/../%63art?/..");
    assert_eq!(explained.path.as_deref(), Some("/cart?/.."));
    assert_eq!(taken(&explained.routes), ["#2"]);
    let text = FILE.replace(
        "timeouts:",
        "paths: {dot_segments: reject}\n          timeouts:",
    );
    let explained =
        super::tests::ask(&text, request("127.0.0.1", 2046, "shop.test", "/x/../a")).unwrap();
    assert!(!explained.is_routed());
    let explained = http(explained);
    assert!(explained.is_refused);
    assert_eq!(taken(&explained.virtual_hosts), [""; 0]);
}

/// Nobody was asked.
static NO_PHASES: BTreeMap<String, Phase> = BTreeMap::new();
