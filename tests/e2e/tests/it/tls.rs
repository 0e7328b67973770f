//! TLS with clients and with hosts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{HandshakeKind, ProtocolVersion, version};
use transom_e2e::tls::{Authority, Folder, Secure, answering, upstream};
use transom_e2e::upstream::ok;
use transom_e2e::{Client, Plane, Setup, Upstream, eventually};

/// A plane whose listener has these options under `tls`.
fn plane(upstream: &Upstream, tls: &str) -> Plane {
    Setup::to(upstream)
        .listener_option(&format!("tls: {{{tls}}}"))
        .access_log(
            "{name: attributes, config: [connection.requested_server_name, connection.tls_version, \
             connection.mtls, connection.subject_peer_certificate, \
             connection.dns_san_peer_certificate, request.scheme]}",
        )
        .start()
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let first = ca.sign(&["first.test"]);
    let wild = ca.sign(&["*.wild.test"]);
    let exact = ca.sign(&["b.wild.test", "second.test"]);
    let plane = plane(
        &up,
        &format!(
            "certificates: [{{{}}}, {{{}}}, {{{}}}]",
            folder.pair("first", &first),
            folder.pair("wild", &wild),
            folder.pair("exact", &exact)
        ),
    );
    let secure = Secure::new(&ca);
    for (name, shown) in [
        ("first.test", &first),
        ("second.test", &exact),
        ("SECOND.test", &exact),
        ("a.wild.test", &wild),
        ("b.wild.test", &exact),
    ] {
        let mut client = secure.connect(plane.address("in"), name).unwrap();
        assert_eq!(client.certificate(), shown.bytes(), "{name}");
        assert_eq!(client.get("/").text(), "good");
    }
    // A name that no certificate has gets the first, and so does a wildcard's second label.
    for name in ["other.test", "a.b.wild.test"] {
        let error = secure.connect(plane.address("in"), name).unwrap_err();
        assert!(error.to_string().contains("first.test"), "{name}: {error}");
    }
    let labels = [("listener", "in")];
    assert_eq!(plane.metric("transom_tls_handshakes_total", &labels), 5);
}

#[test]
fn a_stream_knows_the_tls_of_its_connection() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::echo());
    let plane = plane(
        &up,
        &format!(
            "certificates: [{{{}}}]",
            folder.pair("a", &ca.sign(&["a.test"]))
        ),
    );
    for (spoken, name, agreed) in [
        (&version::TLS12, "TLSv1.2", ProtocolVersion::TLSv1_2),
        (&version::TLS13, "TLSv1.3", ProtocolVersion::TLSv1_3),
    ] {
        let secure = Secure::with(&ca, None, &["h2", "http/1.1"], &[spoken]);
        let mut client = secure.connect(plane.address("in"), "a.test").unwrap();
        assert_eq!(client.session().protocol_version(), Some(agreed));
        assert_eq!(client.session().alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(client.get("/").status(), 200);
        plane.lab.wait_for(&format!(
            "connection.requested_server_name=a.test connection.tls_version={name} connection.mtls=false \
             connection.subject_peer_certificate=- connection.dns_san_peer_certificate=- request.scheme=https"
        ));
    }
}

#[test]
fn a_redirect_stays_with_tls() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("never"));
    let pair = folder.pair("a", &ca.sign(&["a.test"]));
    let plane = Setup::to(&up)
        .listener_option(&format!("tls: {{certificates: [{{{pair}}}]}}"))
        .route("{match: {path: /old}, redirect: {path: /new}}")
        .start();
    let secure = Secure::new(&ca);
    let mut client = secure.connect(plane.address("in"), "a.test").unwrap();
    let answer = client.get("/old");
    assert_eq!(answer.status(), 301);
    let location = answer.headers("location");
    assert!(location.starts_with("https://"), "{location}");
    assert!(location.ends_with("/new"), "{location}");
}

#[test]
fn a_client_with_whom_no_protocol_can_be_agreed_on_is_refused() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let plane = plane(
        &up,
        &format!(
            "certificates: [{{{}}}]",
            folder.pair("a", &ca.sign(&["a.test"]))
        ),
    );
    let secure = Secure::with(&ca, None, &["h2"], &[&version::TLS13]);
    let error = secure.connect(plane.address("in"), "a.test").unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
}

#[test]
fn a_version_older_than_the_listener_speaks_is_refused() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let plane = plane(
        &up,
        &format!("certificates: [{{{files}}}], min_version: \"1.3\""),
    );
    let old = Secure::with(&ca, None, &[], &[&version::TLS12]);
    let error = old.connect(plane.address("in"), "a.test").unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    assert!(
        Secure::new(&ca)
            .connect(plane.address("in"), "a.test")
            .is_ok()
    );
}

/// A ClientHello as TLS 1.0 and 1.1 have it: no client library here speaks them any more.
#[test]
fn tls_1_0_and_1_1_are_refused_with_an_alert() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let plane = plane(
        &up,
        &format!(
            "certificates: [{{{}}}]",
            folder.pair("a", &ca.sign(&["a.test"]))
        ),
    );
    for minor in [1, 2] {
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.push(0);
        // TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA and TLS_RSA_WITH_AES_128_CBC_SHA; no compression.
        hello.extend([0, 4, 0xc0, 0x09, 0x00, 0x2f, 1, 0]);
        let mut record = vec![22, 3, 1, 0, u8::try_from(hello.len() + 4).unwrap()];
        record.extend([1, 0, 0, u8::try_from(hello.len()).unwrap()]);
        record.extend(hello);
        let mut client = plane.client();
        client.send(&record);
        // A fatal alert (RFC 5246, section 7.2), and then a clean end.
        let answer = client.rest();
        assert_eq!(
            (answer.first(), answer.get(5)),
            (Some(&21), Some(&2)),
            "{answer:?}"
        );
    }
    eventually("both to be counted", || {
        let failed = plane.metric(
            "transom_tls_handshake_failures_total",
            &[("listener", "in")],
        );
        (failed == 2).then_some(())
    });
}

#[test]
fn plain_http_to_a_tls_port_is_closed_cleanly() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let plane = plane(
        &up,
        &format!(
            "certificates: [{{{}}}]",
            folder.pair("a", &ca.sign(&["a.test"]))
        ),
    );
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    // An alert and the end, no reset: a reset is an error here.
    let answer = client.rest();
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    assert_eq!(plane.metric("transom_tls_handshake_failures_total", &[]), 1);
    assert!(up.requests().is_empty());
}

#[test]
fn client_certificates_are_required_optional_or_not_asked_for() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let client_ca = folder.write("clients.pem", clients.pem());
    let all = [&version::TLS13, &version::TLS12];
    let good = Secure::with(&ca, Some(&clients.sign(&["me.test"])), &[], &all);
    let wrong = Secure::with(&ca, Some(&strangers.sign(&["you.test"])), &[], &all);
    let none = Secure::with(&ca, None, &[], &all);
    for (policy, with_good, with_wrong, with_none) in [
        ("", Some("true"), None, None),
        (", client_certificate: required", Some("true"), None, None),
        (
            ", client_certificate: optional",
            Some("true"),
            None,
            Some("false"),
        ),
    ] {
        let tls = format!("certificates: [{{{files}}}], client_ca: {client_ca}{policy}");
        let plane = plane(&up, &tls);
        for (secure, expected) in [(&good, with_good), (&wrong, with_wrong), (&none, with_none)] {
            // In TLS 1.3 a client learns that it was refused when it reads.
            let answer = secure
                .connect(plane.address("in"), "a.test")
                .and_then(|mut client| client.try_get("/"));
            match expected {
                Some(mtls) => {
                    assert_eq!(answer.unwrap().unwrap().status(), 200);
                    let log = plane.lab.wait_for_prefix("connection.requested");
                    assert!(log.contains(&format!("connection.mtls={mtls} ")), "{log}");
                    let subject = "subject_peer_certificate=CN=me.test connection.dns_san_peer_certificate=me.test";
                    assert_eq!(log.contains(subject), mtls == "true", "{log}");
                    plane.lab.take_notes();
                }
                None => assert!(answer.is_err(), "{policy}: {answer:?}"),
            }
        }
    }
}

#[test]
fn sessions_are_resumed_on_every_worker() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let plane = Setup::to(&up)
        .workers(2)
        .listener_option(&format!("tls: {{certificates: [{{{files}}}]}}"))
        .start();
    for spoken in [&version::TLS12, &version::TLS13] {
        let secure = Secure::with(&ca, None, &[], &[spoken]);
        for round in 0..8 {
            let mut client = secure.connect(plane.address("in"), "a.test").unwrap();
            assert_eq!(client.get("/").text(), "good");
            let expected = if round == 0 {
                HandshakeKind::Full
            } else {
                HandshakeKind::Resumed
            };
            assert_eq!(client.session().handshake_kind(), Some(expected), "{round}");
        }
    }
    assert_eq!(
        plane.metric("transom_tls_handshakes_total", &[("resumed", "yes")]),
        14
    );
}

#[test]
fn a_client_gets_as_many_tickets_as_are_configured() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    for (option, tickets) in [
        ("", 1),
        (", session_tickets: 3", 3),
        (", session_tickets: 0", 0),
    ] {
        let plane = plane(&up, &format!("certificates: [{{{files}}}]{option}"));
        let secure = Secure::with(&ca, None, &[], &[&version::TLS13]);
        let connect = || secure.connect(plane.address("in"), "a.test").unwrap();
        assert_eq!(connect().get("/").text(), "good");
        // Each ticket is used once, and those of these connections are not read.
        for number in 0..=tickets {
            let expected = match number {
                _ if number == tickets => HandshakeKind::Full,
                _ => HandshakeKind::Resumed,
            };
            let kind = connect().session().handshake_kind();
            assert_eq!(kind, Some(expected), "{option} {number}");
        }
        // TLS 1.2 has one, or none.
        let secure = Secure::with(&ca, None, &[], &[&version::TLS12]);
        let kinds = [0, 1].map(|_| {
            let mut client = secure.connect(plane.address("in"), "a.test").unwrap();
            assert_eq!(client.get("/").text(), "good");
            client.session().handshake_kind()
        });
        let second = match tickets {
            0 => HandshakeKind::Full,
            _ => HandshakeKind::Resumed,
        };
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(second)], "{option}");
    }
}

#[test]
fn a_changed_authority_for_clients_ends_their_sessions() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let client_ca = folder.write("clients.pem", old.pem());
    let plane = plane(
        &up,
        &format!("certificates: [{{{files}}}], client_ca: {client_ca}"),
    );
    let mine = old.sign(&["me.test"]);
    let secure = Secure::with(&ca, Some(&mine), &[], &[&version::TLS13]);
    for _ in 0..2 {
        let mut client = secure.connect(plane.address("in"), "a.test").unwrap();
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(
        plane.metric("transom_tls_handshakes_total", &[("resumed", "yes")]),
        1
    );
    let _ = folder.write("clients.pem", new.pem());
    assert_eq!(plane.wait(plane.proxy.refresh_certificates()).renewed, 1);
    let answer = secure
        .connect(plane.address("in"), "a.test")
        .and_then(|mut client| client.try_get("/"));
    assert!(answer.is_err(), "{answer:?}");
}

#[test]
fn a_renewed_certificate_is_shown_and_no_connection_ends() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (before, after) = (ca.sign(&["a.test"]), ca.sign(&["a.test"]));
    let files = folder.pair("a", &before);
    let plane = plane(&up, &format!("certificates: [{{{files}}}]"));
    let refresh = || plane.wait(plane.proxy.refresh_certificates());
    let mut old = Secure::new(&ca)
        .connect(plane.address("in"), "a.test")
        .unwrap();
    assert_eq!(old.get("/").text(), "good");
    assert_eq!((refresh().renewed, refresh().failed), (0, 0));
    let _ = folder.pair("a", &after);
    assert_eq!((refresh().renewed, refresh().renewed), (1, 0));
    let mut new = Secure::new(&ca)
        .connect(plane.address("in"), "a.test")
        .unwrap();
    assert_eq!(old.certificate(), before.bytes());
    assert_eq!(new.certificate(), after.bytes());
    for client in [&mut old, &mut new] {
        assert_eq!(client.get("/").text(), "good");
    }
}

#[test]
fn a_bad_renewal_keeps_the_old_certificate_and_is_counted() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let good = ca.sign(&["a.test"]);
    let files = folder.pair("a", &good);
    let setup = Setup::to(&up).listener_option(&format!("tls: {{certificates: [{{{files}}}]}}"));
    let plane = setup.start();
    let refresh = || plane.wait(plane.proxy.refresh_certificates());
    let other = ca.sign(&["a.test"]);
    let _ = folder.write("a.pem", &other.certificate);
    assert_eq!((refresh().failed, refresh().failed), (1, 0));
    assert_eq!(
        plane.metric("transom_tls_reload_failures_total", &[("name", "in")]),
        1
    );
    let secure = Secure::new(&ca);
    let client = secure.connect(plane.address("in"), "a.test").unwrap();
    assert_eq!(client.certificate(), good.bytes());
    // A whole reload says so at its place, and changes nothing.
    let error = plane.apply(&setup.yaml()).unwrap_err();
    assert!(
        error.contains("does not belong to the certificate"),
        "{error}"
    );
    let client = secure.connect(plane.address("in"), "a.test").unwrap();
    assert_eq!(client.certificate(), good.bytes());
    // With its key the renewal is whole.
    let _ = folder.write("a.key", &other.key);
    assert_eq!(refresh().renewed, 1);
    assert!(plane.apply(&setup.yaml()).is_ok());
    let client = secure.connect(plane.address("in"), "a.test").unwrap();
    assert_eq!(client.certificate(), other.bytes());
}

#[test]
fn files_that_cannot_be_used_are_refused_with_cause_and_remedy() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let plane = Setup::to(&up).start();
    let good = ca.sign(&["a.test"]);
    let expired = ca.sign_until(&["a.test"], 2001);
    let pem = folder.write("good.pem", &good.certificate);
    let key = folder.write("good.key", &good.key);
    let other = folder.write("other.key", &expired.key);
    let old = folder.write("old.pem", &expired.certificate);
    let text = folder.write("text", "no PEM");
    let broken = folder.write("broken", &good.certificate.replace("-----END", "@@@@@"));
    let sealed = folder.write(
        "sealed",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let nowhere = folder.path().join("nowhere").display().to_string();
    for (certificate, private_key, cause, remedy) in [
        (
            &nowhere,
            &key,
            "nowhere cannot be read",
            "write the path of a file that is there",
        ),
        (
            &pem,
            &nowhere,
            "nowhere cannot be read",
            "write the path of a file that is there",
        ),
        (
            &text,
            &key,
            "text has no certificate",
            "-----BEGIN CERTIFICATE-----",
        ),
        (&key, &pem, "good.key has no certificate", "swapped"),
        (&broken, &key, "broken is not good PEM", "copy it again"),
        (
            &pem,
            &text,
            "text has no private key",
            "-----BEGIN PRIVATE KEY-----",
        ),
        (&pem, &pem, "good.pem has no private key", "swapped"),
        (&pem, &sealed, "sealed has no private key", "openssl pkey"),
        (
            &pem,
            &other,
            "other.key has a key that does not belong",
            "made together",
        ),
        (&old, &other, "expired on 2001-01-31", "renew it"),
    ] {
        let yaml = Setup::to(&up)
            .listener_option(&format!(
                "tls: {{certificates: [{{certificate: {certificate}, private_key: {private_key}}}]}}"
            ))
            .yaml();
        let error = plane.apply(&yaml).unwrap_err();
        assert!(
            error.contains(cause) && error.contains(remedy),
            "{cause}: {error}"
        );
    }
    // What was active goes on.
    assert_eq!(plane.get("/").text(), "good");
}

/// A plane that goes on to a TLS upstream; `tls` are the options of the cluster.
fn to_tls(address: std::net::SocketAddr, tls: &str) -> Plane {
    Setup::to_address(address)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [\"{address}\"], tls: {{{tls}}}}}"
        ))
        .access_log(
            "{name: attributes, config: [response.code, response.flags, response.code_details]}",
        )
        .start()
}

#[test]
fn hosts_are_asked_for_their_name_and_verified() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    let serve = answering(|_, connection| ok(connection.server_name().unwrap_or("no name")));
    let address = upstream(
        &ca.sign(&["app.test", "127.0.0.1"]),
        None,
        move |connection| {
            seen.fetch_add(1, Ordering::SeqCst);
            serve(connection);
        },
    );
    let authorities = folder.write("ca.pem", ca.pem());
    let plane = to_tls(address, &format!("sni: app.test, ca: {authorities}"));
    assert_eq!(plane.get("/").text(), "app.test");
    assert_eq!(plane.get("/").text(), "app.test");
    assert_eq!(
        connections.load(Ordering::SeqCst),
        1,
        "the connection is kept"
    );
    // Without a name the certificate must have the address, and no name is asked for (RFC 6066, section 3).
    assert_eq!(
        to_tls(address, &format!("ca: {authorities}"))
            .get("/")
            .text(),
        "no name"
    );
    // Other files make other connections.
    let _ = folder.write(
        "ca.pem",
        &format!("{}{}", ca.pem(), Authority::new("b").pem()),
    );
    assert_eq!(plane.wait(plane.proxy.refresh_certificates()).renewed, 1);
    let before = connections.load(Ordering::SeqCst);
    assert_eq!(plane.get("/").text(), "app.test");
    assert_eq!(connections.load(Ordering::SeqCst), before + 1);
}

#[test]
fn a_host_that_cannot_be_verified_is_502_with_the_cause() {
    let (ca, other, folder) = (Authority::new("ca"), Authority::new("other"), Folder::new());
    let trusted = format!("ca: {}", folder.write("ca.pem", ca.pem()));
    let serve = || answering(|_, _| ok("secret"));
    let plain = Upstream::serving(|mut connection| connection.send("220 plain\r\n"));
    let good = upstream(&ca.sign(&["app.test"]), None, serve());
    let expired = upstream(&ca.sign_until(&["app.test"], 2001), None, serve());
    let unknown = upstream(&other.sign(&["app.test"]), None, serve());
    for (address, sni, cause) in [
        (expired, "app.test", "certificate_expired"),
        (unknown, "app.test", "certificate_of_unknown_issuer"),
        (good, "wrong.test", "certificate_for_another_name"),
        (plain.address(), "app.test", "host_speaks_no_tls"),
    ] {
        let plane = to_tls(address, &format!("sni: {sni}, {trusted}"));
        assert_eq!(plane.get("/").status(), 502, "{cause}");
        plane.lab.wait_for(&format!(
            "response.code=502 response.flags=UF \
             response.code_details=upstream_reset_before_response_started{{tls_failure:{cause}}}"
        ));
    }
    let plane = to_tls(unknown, "verify: false, sni: app.test");
    assert_eq!(plane.get("/").text(), "secret");
}

#[test]
fn a_host_may_ask_for_the_proxys_certificate() {
    let (ca, proxies, folder) = (
        Authority::new("ca"),
        Authority::new("proxies"),
        Folder::new(),
    );
    let serve = answering(|_, connection| {
        ok(&connection
            .peer_certificates()
            .map_or(0, <[_]>::len)
            .to_string())
    });
    let address = upstream(&ca.sign(&["app.test"]), Some(&proxies), serve);
    let trusted = format!("sni: app.test, ca: {}", folder.write("ca.pem", ca.pem()));
    let own = folder.pair("own", &proxies.sign(&["proxy.test"]));
    let plane = to_tls(address, &format!("{trusted}, client: {{{own}}}"));
    assert_eq!(plane.get("/").text(), "1");
    assert_eq!(to_tls(address, &trusted).get("/").status(), 502);
}

#[test]
fn an_answer_until_the_end_of_the_connection_must_end_with_close_notify() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let pair = ca.sign(&["app.test"]);
    let trusted = format!("sni: app.test, ca: {}", folder.write("ca.pem", ca.pem()));
    for notify in [true, false] {
        let address = upstream(&pair, None, move |mut connection| {
            let _ = transom_e2e::Message::read_request(&mut connection);
            let stream = connection.get_mut();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
                .unwrap();
            if notify {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        });
        let plane = to_tls(address, &trusted);
        let mut client = plane.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = client.try_answer("GET");
        match notify {
            true => assert_eq!(answer.unwrap().unwrap().text(), "half"),
            // No answer, or one in chunks without the last: either way the client can tell.
            false => assert!(!matches!(answer, Ok(Some(_))), "{answer:?}"),
        }
    }
}

#[test]
fn the_proxy_ends_a_connection_with_close_notify() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let plane = plane(&up, &format!("certificates: [{{{files}}}]"));
    let mut client = Secure::new(&ca)
        .connect(plane.address("in"), "a.test")
        .unwrap();
    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .unwrap();
    let rest = String::from_utf8(client.rest().unwrap()).unwrap();
    assert!(rest.ends_with("good"), "{rest}");
}

#[test]
fn bodies_of_every_size_pass_tls_on_both_sides() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let serve = answering(|request, _| ok(&request.text()));
    let address = upstream(&ca.sign(&["app.test"]), None, serve);
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let trusted = folder.write("ca.pem", ca.pem());
    let plane = Setup::to_address(address)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [\"{address}\"], tls: {{sni: app.test, ca: {trusted}}}}}"
        ))
        .listener_option(&format!("tls: {{certificates: [{{{files}}}]}}"))
        .start();
    let mut client = Secure::new(&ca)
        .connect(plane.address("in"), "a.test")
        .unwrap();
    for size in [0, 1, 16 << 10, (16 << 10) + 1, 3 << 20] {
        let body = "x".repeat(size);
        let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n");
        client.send(head).unwrap();
        client.send(&body).unwrap();
        let answer = transom_e2e::Message::read_response(client.reader(), "POST");
        assert_eq!(answer.unwrap().unwrap().body.len(), size);
    }
}

#[test]
fn tcp_proxy_carries_what_is_in_tls_and_half_closes() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let up = Upstream::serving(|mut connection| {
        let said = connection.client.rest();
        connection.send(said);
    });
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let address = up.address();
    let plane = Plane::start(
        1,
        &format!(
            "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    tls: {{certificates: [{{{files}}}]}}\n    \
             network_filters: [{{name: tcp_proxy, config: {{cluster: up}}}}]\n\
             clusters: [{{name: up, endpoints: [\"{address}\"]}}]\n"
        ),
    );
    let mut client = Secure::new(&ca)
        .connect(plane.address("in"), "a.test")
        .unwrap();
    client.send("to and fro").unwrap();
    client.close().unwrap();
    assert_eq!(client.rest().unwrap(), b"to and fro");
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_cluster() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let named = |name: &'static str| {
        Upstream::serving(move |mut connection| {
            connection.send(name);
        })
    };
    let ups = [named("one"), named("two"), named("three")];
    let files = folder.pair("a", &ca.sign(&["a.test", "b.a.test", "c.test"]));
    let [one, two, three] = [&ups[0], &ups[1], &ups[2]].map(Upstream::address);
    let plane = Plane::start(
        1,
        &format!(
            "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    tls: {{certificates: [{{{files}}}]}}\n    \
             network_filters:\n      - {{name: sni_cluster, config: {{clusters: [a.test], names: {{\"*.a.test\": two}}, otherwise: pass}}}}\n      \
             - {{name: tcp_proxy, config: {{cluster: three}}}}\n\
             clusters: [{{name: a.test, endpoints: [\"{one}\"]}}, {{name: two, endpoints: [\"{two}\"]}}, {{name: three, endpoints: [\"{three}\"]}}]\n"
        ),
    );
    for (name, expected) in [("a.test", "one"), ("b.a.test", "two"), ("c.test", "three")] {
        let mut client = Secure::new(&ca).connect(plane.address("in"), name).unwrap();
        assert_eq!(client.rest().unwrap(), expected.as_bytes(), "{name}");
    }
}

#[test]
fn a_client_that_leaves_in_the_handshake_is_counted_and_harms_nobody() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let plane = plane(&up, &format!("certificates: [{{{files}}}]"));
    let mut stream = TcpStream::connect(plane.address("in")).unwrap();
    stream.write_all(&[22, 3, 1]).unwrap();
    drop(stream);
    eventually("the failure to be counted", || {
        (plane.metric("transom_tls_handshake_failures_total", &[]) == 1).then_some(())
    });
    eventually("the connection to be gone", || {
        (plane.metric("transom_connections_active", &[("listener", "in")]) == 0).then_some(())
    });
    // Bytes of chance after a good beginning are no handshake either.
    let mut client = Client::connect(plane.address("in"));
    client.send([22, 3, 1, 0, 4, 1, 0, 0, 9, 9, 9, 9, 9]);
    let mut answer = Vec::new();
    let _ = client.reader().read_to_end(&mut answer);
    let mut good = Secure::new(&ca)
        .connect(plane.address("in"), "a.test")
        .unwrap();
    assert_eq!(good.get("/").text(), "good");
}

#[test]
fn the_request_may_say_whom_the_host_must_be() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    let serve = answering(|_, connection| ok(connection.server_name().unwrap_or("no name")));
    let pair = ca.sign(&["a.test", "b.test", "127.0.0.1"]);
    let address = upstream(&pair, None, move |connection| {
        seen.fetch_add(1, Ordering::SeqCst);
        serve(connection);
    });
    let trusted = folder.write("ca.pem", ca.pem());
    let plane = to_tls(address, &format!("auto_sni: true, ca: {trusted}"));
    let mut client = plane.client();
    let mut get = |authority: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
        client.answer()
    };
    // Each name has connections of its own, which are used again.
    for (authority, name, made) in [
        ("a.test", "a.test", 1),
        ("B.test:8443", "b.test", 2),
        ("a.test", "a.test", 2),
        ("b.test", "b.test", 2),
        ("127.0.0.1:1", "no name", 3),
    ] {
        assert_eq!(get(authority).text(), name, "{authority}");
        assert_eq!(connections.load(Ordering::SeqCst), made, "{authority}");
    }
    // A name that the host's certificate has not is refused, with the connections of the others at hand.
    for (authority, cause) in [
        ("c.test", "certificate_for_another_name"),
        ("127.0.0.2", "certificate_for_another_name"),
        ("a..test", "authority_is_no_name"),
    ] {
        assert_eq!(get(authority).status(), 502, "{authority}");
        plane.lab.wait_for(&format!(
            "response.code=502 response.flags=UF \
             response.code_details=upstream_reset_before_response_started{{tls_failure:{cause}}}"
        ));
    }
}

#[test]
fn the_host_that_is_sent_is_the_one_that_is_asked_for() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let serve = answering(|_, connection| ok(connection.server_name().unwrap_or("no name")));
    let address = upstream(&ca.sign(&["inner.test"]), None, serve);
    let trusted = folder.write("ca.pem", ca.pem());
    let plane = Setup::to_address(address)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [\"{address}\"], tls: {{auto_sni: true, ca: {trusted}}}}}"
        ))
        .route("{match: {prefix: /}, cluster: up, rewrite: {host: inner.test}}")
        .start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: outer.test\r\n\r\n");
    assert_eq!(client.answer().text(), "inner.test");
}
