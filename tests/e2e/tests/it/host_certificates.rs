//! Certificates that the proxy shows to hosts, from providers, and when certificates end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use transom_api::Certificates;
use transom_e2e::tls::{Authority, Folder, answering, upstream};
use transom_e2e::upstream::ok;
use transom_e2e::{Plane, Setup, Upstream};
use transom_test_filters::certificates::Answer;

/// A plane without TLS, whose shelf can be filled before a cluster has it.
fn bare(plain: &Upstream) -> Plane {
    Setup::to(plain).start()
}

/// A configuration whose cluster has these options under `tls`.
fn to_tls(address: std::net::SocketAddr, tls: &str) -> String {
    Setup::to_address(address)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [\"{address}\"], tls: {{{tls}}}}}"
        ))
        .yaml()
}

/// A host that wants a certificate of `clients`, tells which one it got, and counts its connections.
fn asking(ca: &Authority, clients: &Authority) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    let serve = answering(|_, connection| {
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        ok(&shown.map_or_else(String::new, |it| format!("{:x?}", it.as_ref())))
    });
    let address = upstream(&ca.sign(&["app.test"]), Some(clients), move |connection| {
        seen.fetch_add(1, Ordering::SeqCst);
        serve(connection);
    });
    (address, connections)
}

fn text(pair: &transom_e2e::tls::Pair) -> String {
    format!("{:x?}", pair.bytes())
}

#[test]
fn a_host_is_shown_what_a_provider_gives_and_something_new_on_new_connections() {
    let (ca, clients, folder) = (
        Authority::new("ca"),
        Authority::new("clients"),
        Folder::new(),
    );
    let (address, connections) = asking(&ca, &clients);
    let (old, new) = (clients.sign(&["proxy.test"]), clients.sign(&["proxy.test"]));
    let plain = Upstream::ok("plain");
    let plane = bare(&plain);
    let shelf = plane.lab.shelf();
    shelf.put_certificates(&[old.plain()]);
    let trusted = folder.write("ca.pem", ca.pem());
    let yaml = to_tls(
        address,
        &format!("sni: app.test, ca: {trusted}, providers: [{{name: shelf}}]"),
    );
    plane.apply(&yaml).unwrap();
    assert_eq!(plane.get("/").text(), text(&old));
    assert_eq!(plane.get("/").text(), text(&old));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    shelf.put_certificates(&[new.plain()]);
    shelf.tell();
    assert_eq!(plane.wait(plane.proxy.refresh_certificates()).renewed, 1);
    assert_eq!(plane.get("/").text(), text(&new));
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    // The same configuration keeps provider and connections; one that fails keeps what it gave.
    shelf.put_all(Answer::Fail("no vault"));
    shelf.tell();
    assert_eq!(plane.wait(plane.proxy.refresh_certificates()).failed, 1);
    plane.apply(&yaml).unwrap();
    assert_eq!(plane.get("/").text(), text(&new));
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert_eq!(plane.lab.count("provider prepared"), 1);
}

#[test]
fn a_new_provider_that_fails_refuses_the_configuration_unless_it_may_fail() {
    let (ca, clients, folder) = (
        Authority::new("ca"),
        Authority::new("clients"),
        Folder::new(),
    );
    let (address, _) = asking(&ca, &clients);
    let plain = Upstream::ok("plain");
    let plane = bare(&plain);
    plane.lab.shelf().put_all(Answer::Fail("no vault"));
    let trusted = folder.write("ca.pem", ca.pem());
    let with = |options: &str| {
        let tls = format!("sni: app.test, ca: {trusted}, providers: [{{name: shelf{options}}}]");
        to_tls(address, &tls)
    };
    let error = plane.apply(&with("")).unwrap_err();
    assert!(error.contains("no vault"), "{error}");
    assert_eq!(plane.get("/").text(), "plain");
    plane.apply(&with(", on_failure: open")).unwrap();
    // The host refuses who shows nothing.
    assert_eq!(plane.get("/").status(), 502);
    // And as soon as there is something it is used.
    let own = clients.sign(&["proxy.test"]);
    plane.lab.shelf().put_certificates(&[own.plain()]);
    plane.lab.shelf().tell();
    plane.wait(plane.proxy.refresh_certificates());
    assert_eq!(plane.get("/").text(), text(&own));
}

#[test]
fn a_host_is_shown_the_certificate_of_an_authority_that_it_names() {
    let (ca, clients, others) = (
        Authority::new("ca"),
        Authority::new("clients"),
        Authority::new("others"),
    );
    let folder = Folder::new();
    let (address, _) = asking(&ca, &clients);
    let (good, other) = (clients.sign(&["proxy.test"]), others.sign(&["proxy.test"]));
    let plain = Upstream::ok("plain");
    let plane = bare(&plain);
    plane
        .lab
        .shelf()
        .put_certificates(&[other.plain(), good.plain()]);
    let trusted = folder.write("ca.pem", ca.pem());
    let file = folder.pair("file", &others.sign(&["file.test"]));
    for own in ["", &format!("client: {{{file}}}, ")] {
        let tls = format!("sni: app.test, ca: {trusted}, {own}providers: [{{name: shelf}}]");
        plane.apply(&to_tls(address, &tls)).unwrap();
        assert_eq!(plane.get("/").text(), text(&good), "{own}");
    }
}

#[test]
fn hosts_may_be_believed_by_the_authorities_that_providers_name() {
    let (ca, other, clients) = (
        Authority::new("ca"),
        Authority::new("other"),
        Authority::new("clients"),
    );
    let (address, _) = asking(&ca, &clients);
    let own = clients.sign(&["proxy.test"]);
    let plain = Upstream::ok("plain");
    let plane = bare(&plain);
    let put = |authority: Option<&Authority>| {
        plane.lab.shelf().put_all(Answer::Give(Certificates {
            certificates: vec![own.plain()],
            authorities: authority.map(|it| it.pem().as_bytes().to_vec()),
            refresh_after: None,
        }));
    };
    let yaml = to_tls(
        address,
        "sni: app.test, ca: providers, providers: [{name: shelf}]",
    );
    put(None);
    let error = plane.apply(&yaml).unwrap_err();
    assert!(error.contains("no provider names an authority"), "{error}");
    put(Some(&ca));
    plane.apply(&yaml).unwrap();
    assert_eq!(plane.get("/").text(), text(&own));
    put(Some(&other));
    plane.lab.shelf().tell();
    assert_eq!(plane.wait(plane.proxy.refresh_certificates()).renewed, 1);
    assert_eq!(plane.get("/").status(), 502);
}

#[test]
fn the_end_of_the_first_certificate_of_each_is_known() {
    let (ca, clients, folder) = (
        Authority::new("ca"),
        Authority::new("clients"),
        Folder::new(),
    );
    let (address, _) = asking(&ca, &clients);
    let long = folder.pair("long", &ca.sign_until(&["a.test"], 2090));
    let short = folder.pair("short", &ca.sign_until(&["b.test"], 2060));
    let own = folder.pair("own", &clients.sign_until(&["proxy.test"], 2070));
    let trusted = folder.write("ca.pem", ca.pem());
    let plane = Setup::to_address(address)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [\"{address}\"], tls: {{sni: app.test, ca: {trusted}, client: {{{own}}}}}}}"
        ))
        .listener_option(&format!("tls: {{certificates: [{{{long}}}, {{{short}}}]}}"))
        .start();
    // Days from 1970 to the end of January of a year, near enough.
    let until = |year: u64| {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        ((year - 1970) * 31_556_952 + 30 * 86_400 - now).cast_signed()
    };
    for (of, name, year) in [("listener", "in", 2060), ("cluster", "up", 2070)] {
        let left = plane.metric(
            "transom_tls_certificate_expiry_seconds",
            &[("of", of), ("name", name)],
        );
        assert!((left - until(year)).abs() < 3 * 86_400, "{of}: {left}");
    }
    let all = plane.proxy.certificates();
    let names: Vec<_> = all.iter().map(|it| it.names.join(" ")).collect();
    assert_eq!(names, ["a.test", "b.test", "proxy.test"]);
    assert!(all.iter().all(|it| it.provider == "files"));
}
