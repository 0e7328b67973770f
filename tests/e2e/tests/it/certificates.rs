//! Certificate providers: what they publish, what they are asked for, and what becomes of their failures.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use transom_api::{Certificate, Certificates};
use transom_e2e::tls::{Authority, Folder, Pair, Secure};
use transom_e2e::{Plane, Setup, Upstream, eventually};
use transom_test_filters::certificates::Answer;

const SHELF: &str = "providers: [{name: shelf}]";
const ON_DEMAND: &str = "providers: [{name: shelf, config: {on_demand: true}}]";

fn setup(upstream: &Upstream, tls: &str) -> Setup {
    Setup::to(upstream).listener_option(&format!("tls: {{{tls}}}"))
}

/// A plane without TLS, whose shelf can be filled before a listener has it.
fn bare(upstream: &Upstream) -> Plane {
    Setup::to(upstream).start()
}

fn refresh(plane: &Plane) -> (usize, usize) {
    let news = plane.wait(plane.proxy.refresh_certificates());
    (news.renewed, news.failed)
}

fn shown(plane: &Plane, ca: &Authority, name: &str) -> io::Result<Vec<u8>> {
    let client = Secure::new(ca).connect(plane.address("in"), name)?;
    Ok(client.certificate())
}

/// A client that connects in a thread of its own.
fn connecting(ca: &Authority, address: SocketAddr, name: &str) -> JoinHandle<io::Result<Vec<u8>>> {
    let (secure, name) = (Secure::new(ca), name.to_owned());
    std::thread::spawn(move || Ok(secure.connect(address, &name)?.certificate()))
}

#[test]
fn what_a_provider_gives_is_shown_by_name_and_renewed_when_it_tells() {
    let (ca, up) = (Authority::new("ca"), Upstream::ok("good"));
    let (a, b) = (ca.sign(&["a.test"]), ca.sign(&["*.b.test"]));
    let plane = bare(&up);
    let shelf = plane.lab.shelf();
    shelf.put_certificates(&[a.plain(), b.plain()]);
    let setup = setup(&up, SHELF);
    plane.apply(&setup.yaml()).unwrap();
    let mut old = Secure::new(&ca)
        .connect(plane.address("in"), "a.test")
        .unwrap();
    assert_eq!(old.certificate(), a.bytes());
    assert_eq!(shown(&plane, &ca, "x.b.test").unwrap(), b.bytes());

    // It is not asked before it tells.
    let renewed = ca.sign(&["a.test"]);
    shelf.put_certificates(&[renewed.plain(), b.plain()]);
    assert_eq!(refresh(&plane), (0, 0));
    assert_eq!(plane.lab.count("asked for all"), 1);
    shelf.tell();
    plane.wait(plane.proxy.certificates_told());
    assert_eq!(refresh(&plane), (1, 0));
    assert_eq!(shown(&plane, &ca, "a.test").unwrap(), renewed.bytes());
    assert_eq!(old.get("/").text(), "good");

    // The same again is nothing new.
    shelf.tell();
    assert_eq!(refresh(&plane), (0, 0));
    // A reload of the same configuration keeps the provider.
    plane.apply(&setup.yaml()).unwrap();
    assert_eq!(plane.lab.count("provider prepared"), 1);
    assert_eq!(plane.lab.count("provider dropped"), 0);
    // Without it, it goes.
    plane.apply(&Setup::to(&up).yaml()).unwrap();
    plane.lab.wait_for("provider dropped");
}

#[test]
fn a_provider_is_asked_again_when_it_wants_to() {
    let (ca, up) = (Authority::new("ca"), Upstream::ok("good"));
    let (a, b) = (ca.sign(&["a.test"]), ca.sign(&["a.test"]));
    let plane = bare(&up);
    plane.lab.shelf().put_certificates(&[a.plain()]);
    let often = "providers: [{name: shelf, config: {refresh_after: 0s}}]";
    plane.apply(&setup(&up, often).yaml()).unwrap();
    assert_eq!(refresh(&plane), (0, 0));
    plane.lab.shelf().put_certificates(&[b.plain()]);
    assert_eq!(refresh(&plane), (1, 0));
    assert_eq!(shown(&plane, &ca, "a.test").unwrap(), b.bytes());
}

#[test]
fn a_provider_that_fails_leaves_what_it_gave_last() {
    let (ca, up) = (Authority::new("ca"), Upstream::ok("good"));
    let (good, other) = (ca.sign(&["a.test"]), ca.sign(&["a.test"]));
    let plane = bare(&up);
    let shelf = plane.lab.shelf();
    shelf.put_certificates(&[good.plain()]);
    let often = "providers: [{name: shelf, config: {refresh_after: 0s}}]";
    plane.apply(&setup(&up, often).yaml()).unwrap();
    let mismatch = Certificate {
        key: other.key.clone().into_bytes(),
        ..good.plain()
    };
    let nonsense = Certificate {
        chain: vec![0x30, 0x82, 0xff, 0xff, 1],
        ..good.plain()
    };
    let expired = ca.sign_until(&["a.test"], 2001).plain();
    let give = |certificate: Certificate| {
        Answer::Give(Certificates {
            certificates: vec![good.plain(), certificate],
            ..Certificates::default()
        })
    };
    for bad in [
        Answer::Fail("no vault"),
        Answer::Panic,
        give(mismatch),
        give(nonsense),
        give(expired),
        give(Certificate::default()),
    ] {
        let told = format!("{bad:?}");
        shelf.put_all(bad);
        assert_eq!(refresh(&plane), (0, 1), "{told}");
        // The same failure is told once.
        assert_eq!(refresh(&plane), (0, 0), "{told}");
        assert_eq!(shown(&plane, &ca, "a.test").unwrap(), good.bytes());
        // Nor does it hinder a reload.
        plane.apply(&setup(&up, often).workers(1).yaml()).unwrap();
    }
    let failures = plane.metric("transom_tls_reload_failures_total", &[("name", "in")]);
    assert_eq!(failures, 6);
    shelf.put_certificates(&[other.plain()]);
    assert_eq!(refresh(&plane), (1, 0));
    assert_eq!(shown(&plane, &ca, "a.test").unwrap(), other.bytes());
}

#[test]
fn a_new_provider_that_fails_refuses_the_configuration_unless_it_may() {
    let (ca, up) = (Authority::new("ca"), Upstream::ok("good"));
    let plane = bare(&up);
    plane.lab.shelf().put_all(Answer::Fail("no vault"));
    let error = plane.apply(&setup(&up, SHELF).yaml()).unwrap_err();
    assert!(error.contains("`shelf` failed: no vault"), "{error}");
    assert_eq!(plane.get("/").status(), 200);
    plane.lab.shelf().put_all(Answer::Nothing);
    let error = plane.apply(&setup(&up, SHELF).yaml()).unwrap_err();
    assert!(error.contains("has a certificate"), "{error}");

    plane.lab.shelf().put_all(Answer::Panic);
    let open = "providers: [{name: shelf, on_failure: open, config: {refresh_after: 0s}}]";
    plane.apply(&setup(&up, open).yaml()).unwrap();
    assert!(shown(&plane, &ca, "a.test").is_err());
    let pair = ca.sign(&["a.test"]);
    plane.lab.shelf().put_certificates(&[pair.plain()]);
    plane.lab.shelf().tell();
    assert_eq!(refresh(&plane), (1, 0));
    assert_eq!(shown(&plane, &ca, "a.test").unwrap(), pair.bytes());
}

#[test]
fn a_late_provider_keeps_no_other_waiting() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (before, after) = (ca.sign(&["file.test"]), ca.sign(&["file.test"]));
    let plane = bare(&up);
    let late = ca.sign(&["late.test"]);
    plane.lab.shelf().put_certificates(&[late.plain()]);
    let tls = format!("certificates: [{{{}}}], {SHELF}", folder.pair("a", &before));
    plane.apply(&setup(&up, &tls).yaml()).unwrap();
    plane.lab.shelf().put_all(Answer::Late);
    plane.lab.shelf().tell();
    let proxy = std::sync::Arc::clone(&plane.proxy);
    let look = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(proxy.refresh_certificates())
    });
    plane.lab.wait_for_times("asked for all", 2);
    // The look is still under way; the next one passes it.
    let _ = folder.pair("a", &after);
    eventually("the renewed file", || {
        plane.wait(plane.proxy.refresh_certificates());
        (shown(&plane, &ca, "file.test").unwrap() == after.bytes()).then_some(())
    });
    assert!(!look.is_finished());
    plane.lab.shelf().put_certificates(&[late.plain()]);
    look.join().unwrap();
    assert_eq!(shown(&plane, &ca, "late.test").unwrap(), late.bytes());
}

/// A plane whose provider is asked for names below `d.test`, and that shows `default.test` otherwise.
fn on_demand(ca: &Authority, folder: &Folder, up: &Upstream, options: &str) -> (Plane, Pair) {
    let default = ca.sign(&["default.test"]);
    let tls = format!(
        "certificates: [{{{}}}], {ON_DEMAND}, on_demand: {{names: [\"*.d.test\"]{options}}}",
        folder.pair("default", &default)
    );
    (setup(up, &tls).start(), default)
}

fn outcomes(plane: &Plane, outcome: &str) -> i64 {
    plane.metric("transom_tls_on_demand_total", &[("outcome", outcome)])
}

#[test]
fn a_client_waits_for_a_certificate_on_demand_and_others_use_it() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (plane, _) = on_demand(&ca, &folder, &up, "");
    let pair = ca.sign(&["a.d.test"]);
    plane.lab.shelf().put("a.d.test", Answer::Late);
    let address = plane.address("in");
    let waiting: Vec<_> = ["a.d.test", "A.d.test", "a.d.test"]
        .map(|name| connecting(&ca, address, name))
        .into();
    plane.lab.wait_for("asked for a.d.test");
    // The worker serves others meanwhile.
    let secure = Secure::new(&ca);
    let mut other = secure.connect(address, "default.test").unwrap();
    assert_eq!(other.get("/").text(), "good");
    assert!(waiting.iter().all(|client| !client.is_finished()));
    plane
        .lab
        .shelf()
        .put("a.d.test", Answer::Give(pair.plain()));
    for client in waiting {
        assert_eq!(client.join().unwrap().unwrap(), pair.bytes());
    }
    assert_eq!(shown(&plane, &ca, "a.d.test").unwrap(), pair.bytes());
    assert_eq!(plane.lab.count("asked for a.d.test"), 1);
    assert_eq!(outcomes(&plane, "found"), 1);
}

#[test]
fn a_name_without_a_certificate_is_not_asked_for_again_for_a_while() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (plane, _) = on_demand(&ca, &folder, &up, ", retry_after: 1h");
    for (name, answer, outcome) in [
        ("none.d.test", Answer::Nothing, "none"),
        ("fails.d.test", Answer::Fail("no vault"), "failed"),
        ("panics.d.test", Answer::Panic, "failed"),
        (
            "other.d.test",
            Answer::Give(ca.sign(&["x.d.test"]).plain()),
            "failed",
        ),
    ] {
        let before = outcomes(&plane, outcome);
        plane.lab.shelf().put(name, answer);
        for _ in 0..2 {
            // What is shown is for another name.
            let error = shown(&plane, &ca, name).unwrap_err().to_string();
            assert!(error.contains("default.test"), "{error}");
        }
        assert_eq!(plane.lab.count(&format!("asked for {name}")), 1);
        assert_eq!(outcomes(&plane, outcome), before + 1);
    }
    // Names that are not allowed are not asked for at all.
    let notes = plane.lab.notes().len();
    for name in ["d.test", "elsewhere.test"] {
        assert!(shown(&plane, &ca, name).is_err());
    }
    assert_eq!(plane.lab.notes().len(), notes);
}

#[test]
fn a_name_is_asked_for_again_after_the_pause() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (plane, _) = on_demand(&ca, &folder, &up, ", retry_after: 0s");
    assert!(shown(&plane, &ca, "a.d.test").is_err());
    let pair = ca.sign(&["a.d.test"]);
    plane
        .lab
        .shelf()
        .put("a.d.test", Answer::Give(pair.plain()));
    assert_eq!(shown(&plane, &ca, "a.d.test").unwrap(), pair.bytes());
}

#[test]
fn a_client_waits_no_longer_than_it_may_and_the_answer_is_kept() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (plane, _) = on_demand(&ca, &folder, &up, ", timeout: 100ms");
    plane.lab.shelf().put("a.d.test", Answer::Late);
    let began = Instant::now();
    assert!(shown(&plane, &ca, "a.d.test").is_err());
    assert!(began.elapsed() >= Duration::from_millis(100));
    let pair = ca.sign(&["a.d.test"]);
    plane
        .lab
        .shelf()
        .put("a.d.test", Answer::Give(pair.plain()));
    assert_eq!(shown(&plane, &ca, "a.d.test").unwrap(), pair.bytes());
    assert_eq!(plane.lab.count("asked for a.d.test"), 1);
}

#[test]
fn no_more_names_are_waited_for_than_allowed() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (plane, _) = on_demand(&ca, &folder, &up, ", max_pending: 1");
    plane.lab.shelf().put("a.d.test", Answer::Late);
    let client = connecting(&ca, plane.address("in"), "a.d.test");
    plane.lab.wait_for("asked for a.d.test");
    let pair = ca.sign(&["b.d.test"]);
    plane
        .lab
        .shelf()
        .put("b.d.test", Answer::Give(pair.plain()));
    assert!(shown(&plane, &ca, "b.d.test").is_err());
    assert_eq!(outcomes(&plane, "refused"), 1);
    plane.lab.shelf().put("a.d.test", Answer::Nothing);
    assert!(client.join().unwrap().is_err());
    // That was no answer: when there is room it is asked for.
    assert_eq!(shown(&plane, &ca, "b.d.test").unwrap(), pair.bytes());
}

#[test]
fn names_that_are_remembered_are_bounded_and_outlive_a_reload() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let default = folder.pair("default", &ca.sign(&["default.test"]));
    let tls = |path: &str| {
        let tls = format!(
            "certificates: [{{{default}}}], {ON_DEMAND}, on_demand: {{names: [\"*.d.test\"], max_names: 2}}"
        );
        setup(&up, &tls)
            .route(&format!("{{match: {{path: {path}}}, cluster: up}}"))
            .yaml()
    };
    let plane = Plane::start(1, &tls("/a"));
    let names = ["a.d.test", "b.d.test", "c.d.test"];
    for name in names {
        let pair = ca.sign(&[name]);
        plane.lab.shelf().put(name, Answer::Give(pair.plain()));
    }
    let ask = |name| {
        // Uses are told apart by the millisecond.
        std::thread::sleep(Duration::from_millis(2));
        shown(&plane, &ca, name).unwrap();
        plane.lab.count(&format!("asked for {name}"))
    };
    assert_eq!((ask("a.d.test"), ask("b.d.test")), (1, 1));
    plane.apply(&tls("/b")).unwrap();
    assert_eq!((ask("a.d.test"), ask("b.d.test")), (1, 1));
    assert_eq!(ask("c.d.test"), 1);
    let asked: usize = names.map(ask).iter().sum();
    assert!(asked >= 4, "one of the three had to go: {asked}");
}

#[test]
fn an_authority_of_a_provider_admits_clients() {
    let (ca, clients, up) = (
        Authority::new("ca"),
        Authority::new("clients"),
        Upstream::ok("good"),
    );
    let plane = bare(&up);
    let all = |authority: Option<&Authority>| {
        Answer::Give(Certificates {
            certificates: vec![ca.sign(&["a.test"]).plain()],
            authorities: authority.map(|it| it.pem().as_bytes().to_vec()),
            refresh_after: None,
        })
    };
    let tls = format!("{SHELF}, client_certificate: required");
    plane.lab.shelf().put_all(all(None));
    let error = plane.apply(&setup(&up, &tls).yaml()).unwrap_err();
    assert!(error.contains("no provider names an authority"), "{error}");
    plane.lab.shelf().put_all(all(Some(&clients)));
    plane.apply(&setup(&up, &tls).yaml()).unwrap();
    for (signer, good) in [(&clients, true), (&ca, false)] {
        let mine = signer.sign(&["me.test"]);
        let secure = Secure::with(&ca, Some(&mine), &[], &[&rustls::version::TLS13]);
        let answer = secure
            .connect(plane.address("in"), "a.test")
            .and_then(|mut client| client.try_get("/"));
        assert_eq!(answer.is_ok_and(|it| it.is_some()), good);
    }
}

#[test]
fn self_signed_certificates_are_of_an_authority_that_stays() {
    let (folder, up) = (Folder::new(), Upstream::ok("good"));
    let authority = folder.path().join("authority");
    let tls = format!(
        "providers: [{{name: self_signed, config: {{names: [localhost, 127.0.0.1], authority: {}}}}}], \
         on_demand: {{names: [\"*.d.test\"]}}",
        authority.display()
    );
    let serve = || setup(&up, &tls).start();
    let plane = serve();
    let secure = Secure::trusting_file(&authority.join("ca.pem"));
    let ask = |plane: &Plane, name: &str| {
        let mut client = secure.connect(plane.address("in"), name).unwrap();
        assert_eq!(client.get("/").text(), "good");
    };
    for name in ["localhost", "127.0.0.1", "x.d.test"] {
        ask(&plane, name);
    }
    drop(plane);
    // Who trusts it once trusts it after a restart.
    let plane = serve();
    ask(&plane, "localhost");
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(authority.join("ca.key")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A key without its certificate is not made good by another.
    std::fs::remove_file(authority.join("ca.pem")).unwrap();
    drop(plane);
    let bare = bare(&up);
    let error = bare.apply(&setup(&up, &tls).yaml()).unwrap_err();
    assert!(error.contains("ca.key has a key, but"), "{error}");
}

#[test]
fn the_provider_files_is_what_certificates_are() {
    let (ca, folder, up) = (Authority::new("ca"), Folder::new(), Upstream::ok("good"));
    let (before, after) = (ca.sign(&["a.test"]), ca.sign(&["a.test"]));
    let tls = format!(
        "providers: [{{name: files, config: {{certificates: [{{{}}}]}}}}]",
        folder.pair("a", &before)
    );
    let setup = setup(&up, &tls);
    let plane = setup.start();
    assert_eq!(shown(&plane, &ca, "a.test").unwrap(), before.bytes());
    let _ = folder.write("a.key", &after.key);
    assert_eq!(refresh(&plane), (0, 1));
    let error = plane.apply(&setup.yaml()).unwrap_err();
    assert!(error.contains("does not belong to"), "{error}");
    let _ = folder.pair("a", &after);
    assert_eq!(refresh(&plane), (1, 0));
    assert_eq!(shown(&plane, &ca, "a.test").unwrap(), after.bytes());
}
