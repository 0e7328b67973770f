//! What clusters choose: registries that tell of hosts, transports that connect them, clients that speak to them.

mod framed;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use transom_api::certificate_provider::Provide;
use transom_api::{
    Clients, Discovered, Factory, Node, ParseError, Parsed, Prepare, PrepareContext, PrepareError,
    Registry, Schema, Servers, ServiceHost, ServiceRegistries, ServiceRegistry,
};
use transom_e2e::tls::Folder;
use transom_e2e::{Plane, Setup, Upstream, eventually};

use self::framed::{Framed, FramedClient, FramedHost};

/// A registry that the test is: it keeps whom to tell.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(String, Discovered)>>>);

impl Told {
    fn hosts(&self, hosts: &[SocketAddr]) {
        let told = self.0.lock().unwrap();
        let (_, last) = told.last().unwrap();
        last.tell(
            hosts
                .iter()
                .map(|it| ServiceHost::new(it.to_string()))
                .collect(),
        );
    }

    fn asked(&self) -> Vec<String> {
        let told = self.0.lock().unwrap();
        told.iter().map(|(service, _)| service.clone()).collect()
    }
}

impl Factory<ServiceRegistries> for Told {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, _: &Node) -> Result<Arc<dyn Parsed<ServiceRegistries>>, ParseError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Parsed<ServiceRegistries> for Told {
    fn prepare(&self, _: PrepareContext) -> Prepare<ServiceRegistries> {
        let this: Arc<dyn ServiceRegistry> = Arc::new(self.clone());
        Box::pin(std::future::ready(Ok(this)))
    }
}

impl ServiceRegistry for Told {
    fn watch(self: Arc<Self>, service: String, hosts: Discovered) -> Provide<()> {
        match service.as_str() {
            "panics" => panic!("as the test wants it"),
            "fails" => return Box::pin(std::future::ready(Err(PrepareError::new("no")))),
            _ => {}
        }
        let (first, rest) = service.split_once('@').unwrap_or((&service, ""));
        if !rest.is_empty() {
            hosts.tell(vec![ServiceHost::new(rest)]);
        }
        self.0.lock().unwrap().push((first.to_owned(), hosts));
        Box::pin(std::future::pending())
    }
}

fn with_cluster(cluster: &str) -> String {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let setup = Setup::to_address(nobody).no_clusters();
    setup.cluster_of(cluster).yaml()
}

fn told(cluster: &str) -> (Plane, Told) {
    let told = Told::default();
    let put = told.clone();
    let plane = Plane::start_with(1, &with_cluster(cluster), |registry| {
        registry
            .register::<ServiceRegistries>("told", Arc::new(put))
            .unwrap();
    });
    (plane, told)
}

#[test]
fn hosts_of_a_service_come_and_go_without_a_reload() {
    let (a, b) = (Upstream::ok("a"), Upstream::ok("b"));
    let cluster = format!(
        "{{name: up, service: greeter@{}, registry: told}}",
        a.address()
    );
    let (plane, told) = told(&cluster);
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "a");
    told.hosts(&[b.address()]);
    plane.wait(plane.proxy.hosts_told());
    plane.wait(plane.proxy.use_hosts()).unwrap();
    // On the connection of before.
    assert_eq!(client.get("/").text(), "b");
    // A reload keeps what was told, and whom to tell.
    plane.apply(&with_cluster(&cluster)).unwrap();
    assert_eq!(client.get("/").text(), "b");
    assert_eq!(told.asked(), ["greeter"]);
    // None is an answer too.
    told.hosts(&[]);
    plane.wait(plane.proxy.use_hosts()).unwrap();
    assert_eq!(client.get("/").status(), 502);
    // Another service is another question.
    let other = format!(
        "{{name: up, service: other@{}, registry: told}}",
        a.address()
    );
    plane.apply(&with_cluster(&other)).unwrap();
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(told.asked(), ["greeter", "other"]);
}

#[test]
fn a_registry_that_fails_or_panics_is_asked_again_and_stops_nobody() {
    for service in ["fails", "panics"] {
        let started = std::time::Instant::now();
        let (plane, _) = told(&format!("{{name: up, service: {service}, registry: told}}"));
        assert!(started.elapsed() >= std::time::Duration::from_secs(5));
        assert_eq!(plane.get("/").status(), 502);
        eventually("another failure", || {
            (plane.metric("transom_registry_failures_total", &[("cluster", "up")]) >= 2)
                .then_some(())
        });
    }
}

#[test]
fn a_file_of_hosts_is_followed_and_a_broken_one_changes_nothing() {
    let (a, b) = (Upstream::ok("a"), Upstream::ok("b"));
    let folder = Folder::new();
    let write = |up: &Upstream| {
        let text = format!("{{\"greeter\": [\"{}\"]}}", up.address());
        folder.write("hosts.json", &text)
    };
    let path = write(&a);
    let cluster = format!(
        "{{name: up, service: greeter, registry: {{name: file, config: {{address: \"{path}\", interval: 10ms}}}}}}"
    );
    let plane = Plane::start(1, &with_cluster(&cluster));
    assert_eq!(plane.get("/").text(), "a");
    let _ = folder.write("hosts.json", "{\"greeter\": [");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(plane.get("/").text(), "a");
    let _ = write(&b);
    plane.wait(plane.proxy.hosts_told());
    plane.wait(plane.proxy.use_hosts()).unwrap();
    eventually("the other host", || {
        plane.wait(plane.proxy.use_hosts()).unwrap();
        (plane.get("/").text() == "b").then_some(())
    });
}

#[test]
fn transports_connect_and_refuse_what_they_cannot_reach() {
    let up = Upstream::ok("good");
    let address = up.address();
    let cluster = |transport, host: &str| {
        with_cluster(&format!(
            "{{name: up, transport: {transport}, endpoints: [\"{host}\"]}}"
        ))
    };
    let plane = Plane::start(1, &cluster("tcp", &address.to_string()));
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "good");
    assert_eq!(client.get("/").text(), "good");
    assert_eq!(up.connections(), 1);
    let error = plane.apply_error(&cluster("unix", &address.to_string()));
    let wanted = format!(
        "the transport `unix` of the cluster `up` cannot reach {address}: it is no Unix socket"
    );
    assert_eq!(error.message, wanted);
    assert!(error.span.is_some());
    // TLS goes without saying on the transport that is called so: this host speaks none.
    plane.apply(&cluster("tls", &address.to_string())).unwrap();
    assert_eq!(plane.get("/").status(), 502);
    // Nobody is there in memory.
    plane
        .apply(&cluster("memory", "unix:@nobody-is-there"))
        .unwrap();
    assert_eq!(plane.get("/").status(), 502);
}

#[test]
fn memory_connects_a_listener_of_the_same_process() {
    let up = Upstream::ok("through");
    let name = format!("unix:@transom-memory-{}", std::process::id());
    let yaml = Setup::to(&up)
        .route("{match: {prefix: /outer}, cluster: inner}")
        .cluster_of(&format!(
            "{{name: inner, transport: memory, endpoints: [\"{name}\"]}}"
        ))
        .yaml();
    let inner = format!(
        "  - name: inner\n    address: \"{name}\"\n    network_filters:\n      - name: http\n        config:\n          virtual_hosts:\n            - domains: [\"*\"]\n              routes: [{{match: {{prefix: /}}, cluster: up}}]\n"
    );
    let yaml = yaml.replacen("clusters:\n", &format!("{inner}clusters:\n"), 1);
    let plane = Plane::start(2, &yaml);
    let mut client = plane.client();
    for _ in 0..3 {
        assert_eq!(client.get("/outer").text(), "through");
    }
    assert_eq!(up.last().target(), "/outer");
}

/// A plane whose hosts speak the protocol of the test.
fn framed(host: SocketAddr) -> Plane {
    let yaml = with_cluster(&format!(
        "{{name: up, client: framed, endpoints: [\"{host}\"]}}"
    ));
    Plane::start_with(1, &yaml, |registry: &mut Registry| {
        registry
            .register::<Clients>("framed", Arc::new(Framed))
            .unwrap();
    })
}

#[test]
fn a_client_of_an_extension_speaks_to_hosts_in_its_protocol() {
    let host = FramedHost::start();
    let plane = framed(host.address);
    let mut client = plane.client();
    assert_eq!(client.get("/one").text(), "GET /one: ");
    let answer = client.post("/two", "body");
    assert_eq!(answer.text(), "POST /two: body");
    assert_eq!(answer.header("x-framed"), Some("yes"));
    assert_eq!(answer.header("content-length"), Some("15"));
    assert_eq!(host.connections(), 1, "the connection was used again");
    // A large body in both directions, in pieces.
    let large = "x".repeat(300_000);
    assert_eq!(client.post("/", &large).text(), format!("POST /: {large}"));
}

#[test]
fn what_is_not_the_protocol_is_a_bad_answer_and_ends_the_connection() {
    let host = FramedHost::start();
    let plane = framed(host.address);
    let mut client = plane.client();
    for (path, status) in [
        ("/nonsense", 502),
        ("/hangup", 502),
        ("/bad-field", 502),
        ("/bad-status", 502),
        ("/panic-in-answer", 502),
        ("/panic-in-request", 502),
        ("/unspeakable", 500),
        ("/good", 200),
    ] {
        assert_eq!(client.get(path).status(), status, "{path}");
    }
}

#[test]
fn what_is_chosen_stands_for_what_a_configuration_leaves_open() {
    let host = FramedHost::start();
    let yaml = with_cluster(&format!("{{name: up, endpoints: [\"{}\"]}}", host.address));
    let plane = Plane::start_with(1, &yaml, |registry: &mut Registry| {
        registry
            .register::<Clients>("framed", Arc::new(Framed))
            .unwrap();
        registry.choose::<Clients>("framed", Node::null()).unwrap();
        let error = registry
            .choose::<Clients>("framd", Node::null())
            .unwrap_err();
        assert_eq!(error.message, "unknown client `framd`");
        let help = error.help.unwrap();
        assert!(help.contains("did you mean `framed`"), "{help}");
        assert!(help.contains("http1"), "{help}");
    });
    assert_eq!(plane.get("/one").text(), "GET /one: ");
    // A cluster that names its own has that.
    let up = Upstream::ok("http");
    let own = format!(
        "{{name: up, client: http1, endpoints: [\"{}\"]}}",
        up.address()
    );
    plane.apply(&with_cluster(&own)).unwrap();
    assert_eq!(plane.get("/one").text(), "http");
}

/// A plane whose clients speak the protocol of the test.
fn framed_listener(up: &Upstream) -> Plane {
    let setup = Setup::to(up).option("protocol: framed");
    let filter = "{name: header_mutation, config: {response: {set: {x-filtered: yes}}}}";
    Plane::start_with(
        1,
        &setup.filter(filter).yaml(),
        |registry: &mut Registry| {
            registry
                .register::<Servers>("framed", Arc::new(Framed))
                .unwrap();
        },
    )
}

#[test]
fn a_server_of_an_extension_is_spoken_to_by_clients_in_its_protocol() {
    let up = Upstream::echo();
    let plane = framed_listener(&up);
    let mut client = FramedClient::connect(plane.address("in"));
    assert_eq!(client.ask("GET /one", &[]).0, "200 filtered");
    // On the same connection, with a body in pieces.
    let large = "x".repeat(100_000);
    let (status, answer) = client.ask("POST /two", &["body", &large]);
    assert_eq!(status, "200 filtered");
    assert!(answer.contains("\nhost: framed.test\n"));
    assert!(answer.ends_with(&format!("body body{large}\n")));
    assert_eq!(up.last().target(), "/two");
    assert_eq!(client.ask("GET /three", &[]).0, "200 filtered");
}

#[test]
fn what_is_no_request_of_the_protocol_closes_the_connection() {
    let up = Upstream::ok("good");
    let plane = framed_listener(&up);
    for head in ["nonsense", "panic", "CONNECT /", "GET no-path"] {
        let mut client = FramedClient::connect(plane.address("in"));
        assert_eq!(client.try_ask(head, &[]), None, "{head}");
    }
    let mut client = FramedClient::connect(plane.address("in"));
    assert_eq!(client.ask("GET /", &[]).1, "good");
    assert_eq!(up.connections(), 1);
}

#[test]
fn a_server_may_be_chosen_for_listeners_that_name_none() {
    let up = Upstream::ok("good");
    let plane = Plane::start_with(1, &Setup::to(&up).yaml(), |registry: &mut Registry| {
        registry
            .register::<Servers>("framed", Arc::new(Framed))
            .unwrap();
        registry.choose::<Servers>("framed", Node::null()).unwrap();
    });
    let mut client = FramedClient::connect(plane.address("in"));
    assert_eq!(client.ask("GET /", &[]).1, "good");
    let own = Setup::to(&up).option("protocol: http1");
    plane.apply(&own.yaml()).unwrap();
    assert_eq!(plane.get("/").text(), "good");
}
