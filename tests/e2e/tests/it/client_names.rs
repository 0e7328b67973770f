//! Which certificates of peers are good: by the names in them and by what their authorities have revoked.

use rustls::version;
use transom_e2e::tls::{Authority, Folder, Pair, Secure, answering, upstream};
use transom_e2e::upstream::ok;
use transom_e2e::{Plane, Setup, Upstream};

/// What a client with this certificate is answered; `None` when it is refused.
fn asked(plane: &Plane, ca: &Authority, mine: Option<&Pair>) -> Option<u16> {
    let answers = [&version::TLS12, &version::TLS13].map(|version| {
        let secure = Secure::with(ca, mine, &[], &[version]);
        let answer = secure
            .connect(plane.address("in"), "a.test")
            .and_then(|mut client| client.try_get("/"));
        answer.ok().flatten().map(|answer| answer.status())
    });
    assert_eq!(answers[0], answers[1], "both versions refuse alike");
    answers[0]
}

#[test]
fn a_client_must_have_a_name_that_is_asked_for() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::echo());
    let clients = Authority::new("clients");
    let pair = folder.pair("a", &ca.sign(&["a.test"]));
    let client_ca = folder.write("clients.pem", clients.pem());
    let tls = |policy: &str| {
        Setup::to(&up)
            .listener_option(&format!(
                "tls: {{certificates: [{{{pair}}}], client_ca: {client_ca}, client_certificate: {policy}, client_san: \
                 [{{type: uri, prefix: \"spiffe://a.test/\"}}, {{type: dns, exact: me.test}}, {{type: ip, exact: 10.0.0.1}}]}}"
            ))
            .access_log("{name: attributes, config: [connection.uri_san_peer_certificate]}")
    };
    let plane = tls("required").start();
    let mine = |names: &[&str]| clients.sign(names);
    for (names, good) in [
        (&["spiffe://a.test/x"][..], true),
        (&["me.test"], true),
        (&["you.test", "me.test"], true),
        (&["10.0.0.1"], true),
        (&["10.0.0.2"], false),
        (&["you.test"], false),
        (&["spiffe://b.test/x"], false),
    ] {
        let answer = asked(&plane, &ca, Some(&mine(names)));
        assert_eq!(answer, good.then_some(200), "{names:?}");
    }
    plane
        .lab
        .wait_for("connection.uri_san_peer_certificate=spiffe://a.test/x");
    assert_eq!(asked(&plane, &ca, None), None);
    plane.apply(&tls("optional").yaml()).unwrap();
    assert_eq!(asked(&plane, &ca, None), Some(200));
    assert_eq!(asked(&plane, &ca, Some(&mine(&["you.test"]))), None);
}

#[test]
fn a_revoked_client_is_refused_as_soon_as_the_list_says_so_even_when_it_resumes() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let clients = Authority::new("clients");
    let pair = folder.pair("a", &ca.sign(&["a.test"]));
    let client_ca = folder.write("clients.pem", clients.pem());
    let crl = folder.write("crl.pem", &clients.revoke(&[]));
    let plane = Setup::to(&up)
        .listener_option(&format!(
            "tls: {{certificates: [{{{pair}}}], client_ca: {client_ca}, client_crl: {crl}}}"
        ))
        .start();
    let (good, bad) = (clients.sign(&["good.test"]), clients.sign(&["bad.test"]));
    let resuming = Secure::with(&ca, Some(&bad), &[], &[&version::TLS13]);
    let ask = || {
        let client = resuming.connect(plane.address("in"), "a.test");
        client
            .and_then(|mut client| client.try_get("/"))
            .is_ok_and(|it| it.is_some())
    };
    assert!(ask() && ask());
    let _ = folder.write("crl.pem", &clients.revoke(&[&bad]));
    assert_eq!(plane.wait(plane.proxy.refresh_certificates()).renewed, 1);
    assert!(!ask());
    assert_eq!(asked(&plane, &ca, Some(&bad)), None);
    assert_eq!(asked(&plane, &ca, Some(&good)), Some(200));
    // A list of another authority says nothing of these clients.
    let _ = folder.write("crl.pem", &ca.revoke(&[]));
    assert_eq!(plane.wait(plane.proxy.refresh_certificates()).renewed, 1);
    assert_eq!(asked(&plane, &ca, Some(&good)), None);
    let _ = folder.write("crl.pem", "nothing");
    let news = plane.wait(plane.proxy.refresh_certificates());
    assert_eq!((news.renewed, news.failed), (0, 1));
}

#[test]
fn a_stream_knows_the_digest_of_its_clients_certificate() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let pair = folder.pair("a", &ca.sign(&["a.test"]));
    let client_ca = folder.write("clients.pem", ca.pem());
    let plane = Setup::to(&up)
        .listener_option(&format!(
            "tls: {{certificates: [{{{pair}}}], client_ca: {client_ca}}}"
        ))
        .access_log("{name: attributes, config: [connection.sha256_peer_certificate_digest]}")
        .start();
    let mine = ca.sign(&["me.test"]);
    assert_eq!(asked(&plane, &ca, Some(&mine)), Some(200));
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().unwrap().common.hash_provider;
    let digest: String = hash
        .hash(&mine.bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    plane.lab.wait_for(&format!(
        "connection.sha256_peer_certificate_digest={digest}"
    ));
}

#[test]
fn the_upstream_is_told_of_the_client_by_nobody_but_the_proxy() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::echo());
    let pair = folder.pair("a", &ca.sign(&["a.test"]));
    let client_ca = folder.write("clients.pem", ca.pem());
    let setup = |option: &str| {
        Setup::to(&up)
            .listener_option(&format!(
                "tls: {{certificates: [{{{pair}}}], client_ca: {client_ca}, client_certificate: optional}}"
            ))
            .option(option)
    };
    let plane = setup("timeouts: {}").start();
    let mine = ca.sign(&["spiffe://a.test/me"]);
    let ask = |mine: Option<&Pair>, more: &str| {
        let secure = Secure::with(&ca, mine, &[], &[&version::TLS13]);
        let mut client = secure.connect(plane.address("in"), "a.test").unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: Hash=1\r\nx-forwarded-client-cert: By=x\r\n{more}\r\n"
        );
        client.send(request).unwrap();
        let answer = transom_e2e::Message::read_response(client.reader(), "GET");
        let told = answer.unwrap().unwrap().text().to_owned();
        let mut fields = told.lines().filter_map(|line| line.split_once(": "));
        let found = fields.find(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-client-cert"));
        found.map(|(_, value)| value.trim().to_owned())
    };
    assert_eq!(ask(Some(&mine), ""), None);
    plane
        .apply(&setup("forward_client_certificate: set").yaml())
        .unwrap();
    // Nor can a client have the field taken away (RFC 9110 section 7.6.1).
    for more in ["", "Connection: x-forwarded-client-cert\r\n"] {
        let told = ask(Some(&mine), more).unwrap();
        assert!(told.starts_with("Hash="), "{told}");
        assert!(told.ends_with(";URI=spiffe://a.test/me"), "{told}");
    }
    assert_eq!(ask(None, ""), None);
    plane
        .apply(&setup("forward_client_certificate: forward").yaml())
        .unwrap();
    assert_eq!(ask(None, "").as_deref(), Some("By=x"));
}

#[test]
fn a_host_is_known_by_a_name_that_is_asked_for_in_place_of_its_own() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let strangers = Authority::new("strangers");
    let host = ca.sign(&["spiffe://a.test/backend"]);
    let revoked = ca.sign(&["spiffe://a.test/old"]);
    let stranger = strangers.sign(&["spiffe://a.test/backend"]);
    let serve = |pair: &Pair| upstream(pair, None, answering(|_, _| ok("good")));
    let ca_file = folder.write("ca.pem", ca.pem());
    let crl = folder.write("crl.pem", &ca.revoke(&[&revoked]));
    for (host, tls, good) in [
        (
            &host,
            "san: [{type: uri, exact: \"spiffe://a.test/backend\"}]",
            true,
        ),
        (
            &host,
            "san: [{type: uri, exact: \"spiffe://a.test/other\"}]",
            false,
        ),
        (
            &host,
            "sni: a.test, san: [{type: uri, prefix: \"spiffe://a.test/\"}]",
            true,
        ),
        (&host, "san: [{type: dns, suffix: \"\"}]", false),
        (&host, "sni: a.test", false),
        // What is not signed, or revoked, is not made good by its name.
        (
            &stranger,
            "san: [{type: uri, prefix: \"spiffe://a.test/\"}]",
            false,
        ),
        (
            &revoked,
            "san: [{type: uri, prefix: \"spiffe://a.test/\"}]",
            false,
        ),
    ] {
        let address = serve(host);
        let plane = Setup::to_address(address)
            .no_clusters()
            .cluster_of(&format!(
                "{{name: up, endpoints: [\"{address}\"], tls: {{ca: {ca_file}, crl: {crl}, {tls}}}}}"
            ))
            .start();
        let status = plane.get("/").status();
        assert_eq!(status, if good { 200 } else { 502 }, "{tls}");
    }
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let pair = folder.pair("a", &ca.sign(&["a.test"]));
    let plane = Setup::to(&up)
        .listener_option(&format!(
            "tls: {{certificates: [{{{pair}}}], handshake_timeout: 50ms}}"
        ))
        .start();
    let mut silent = std::net::TcpStream::connect(plane.address("in")).unwrap();
    let patience = std::time::Duration::from_secs(10);
    silent.set_read_timeout(Some(patience)).unwrap();
    let end = std::io::Read::read(&mut silent, &mut [0; 16]).unwrap();
    assert_eq!(end, 0);
    // Counted after the socket has closed.
    transom_e2e::eventually("the handshake is counted", || {
        let failures = plane.metric(
            "transom_tls_handshake_failures_total",
            &[("listener", "in")],
        );
        (failures == 1).then_some(())
    });
}
