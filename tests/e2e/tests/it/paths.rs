//! One path for routes and filters, and the client's own bytes for the upstream.

use transom_e2e::{Message, Plane, Setup, Upstream};

/// MOSN's table of URLs (its test `TestHTTP1UrlPathQuery`): each reaches the upstream as it was written.
const UNCHANGED: [&str; 19] = [
    "/",
    "/abc",
    "/aa%20bb",
    "/aa%20bb%26cc",
    "/abc+def",
    "/10%25",
    "/1%41",
    "/1%41%42%43",
    "/%4a",
    "/%6F",
    "/%20%3F&=%23+%25%21%3C%3E%23%22%7B%7D%7C%5C%5E%5B%5D%60%E2%98%BA%09:%2F@$%27%28%29%2A%2C%3B",
    "/home/;some/sample",
    "/aa?bb=cc",
    "/?",
    "/?foo=bar?",
    "/?q=go+language",
    "/?q=go%20language",
    "/aa%20bb?q=go%20language",
    "/aa?+%3F%26%3D%23+%25%21%3C%3E%23%22%7B%7D%7C%5C%5E%5B%5D%60%E2%98%BA%09:%2F@$%27%28%29%2A%2C%3B",
];

#[test]
fn what_the_client_wrote_reaches_the_upstream() {
    let upstream = Upstream::ok("good");
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    for target in UNCHANGED {
        assert_eq!(client.get(target).status(), 200, "{target}");
        assert_eq!(upstream.last().target(), target);
    }
}

/// A plane that refuses `/admin` and below, with an option.
fn guarded(upstream: &Upstream, option: &str) -> Plane {
    let setup = Setup::to(upstream)
        .route("{match: {path: /admin}, direct_response: {status: 403}}")
        .route("{match: {prefix: /admin/}, direct_response: {status: 403}}");
    let setup = match option {
        "" => setup,
        option => setup.option(option),
    };
    setup.start()
}

#[test]
fn a_route_cannot_be_walked_around_by_another_spelling() {
    let upstream = Upstream::ok("good");
    let plane = guarded(&upstream, "");
    for target in [
        "/admin",
        "/%61dmin",
        "/x/../admin",
        "/x/%2e%2E/%61dmin?q",
        "/./admin/",
        "/../admin/x",
        "/admin/./x",
    ] {
        assert_eq!(plane.get(target).status(), 403, "{target}");
    }
    assert!(upstream.requests().is_empty());
    // Changed segments go on changed, other spellings as they came.
    for (target, forwarded) in [
        ("/admin/../b%41", "/bA"),
        ("/%61dmin2", "/%61dmin2"),
        ("/x//../admin2?../", "/x/admin2?../"),
        ("//admin", "//admin"),
        ("/x%2f..%2fadmin", "/x%2f..%2fadmin"),
    ] {
        assert_eq!(plane.get(target).status(), 200, "{target}");
        assert_eq!(upstream.last().target(), forwarded, "{target}");
    }
}

#[test]
fn slashes_are_treated_as_the_options_say() {
    let upstream = Upstream::ok("good");
    for (option, target, status, forwarded) in [
        ("paths: {escaped_slashes: reject}", "/a%2fb", 400, None),
        ("paths: {escaped_slashes: reject}", "/a%5Cb", 400, None),
        (
            "paths: {escaped_slashes: normalise}",
            "/x%2f..%2fadmin",
            403,
            None,
        ),
        (
            "paths: {escaped_slashes: normalise}",
            "/a%2fb",
            200,
            Some("/a/b"),
        ),
        ("paths: {merge_slashes: true}", "//admin//x", 403, None),
        (
            "paths: {merge_slashes: true}",
            "//a//b?//",
            200,
            Some("/a/b?//"),
        ),
        ("paths: {dot_segments: reject}", "/a/../b", 400, None),
        (
            "paths: {dot_segments: keep}",
            "/a/../admin",
            200,
            Some("/a/../admin"),
        ),
    ] {
        let plane = guarded(&upstream, option);
        let before = upstream.requests().len();
        assert_eq!(plane.get(target).status(), status, "{option} {target}");
        let seen: Vec<_> = upstream.requests().split_off(before);
        let seen: Vec<&str> = seen.iter().map(Message::target).collect();
        assert_eq!(seen, Vec::from_iter(forwarded), "{option} {target}");
    }
}

#[test]
fn filters_see_the_path_that_routes_see() {
    let upstream = Upstream::ok("good");
    // It asks a cluster for `/auth` and the path that it sees.
    let asked = Upstream::ok("somebody");
    let plane = Setup::to(&upstream)
        .cluster("auth", &[asked.address()])
        .filter("{name: asynchronous, config: {cluster: auth}}")
        .start();
    for (target, seen, forwarded) in [
        ("/%6fk?%6f", "/auth/ok?%6f", "/%6fk?%6f"),
        ("/x/../ok", "/auth/ok", "/ok"),
    ] {
        assert_eq!(plane.get(target).status(), 200);
        assert_eq!(asked.last().target(), seen);
        assert_eq!(upstream.last().target(), forwarded);
    }
}

#[test]
fn a_rewrite_works_on_the_normalised_path_and_tells_the_client_s() {
    let upstream = Upstream::ok("good");
    let plane = Setup::to(&upstream)
        .route("{match: {prefix: /api/}, cluster: up, rewrite: {prefix: /}}")
        .start();
    assert_eq!(plane.get("/%61pi/x").status(), 200);
    assert_eq!(upstream.last().target(), "/x");
    assert_eq!(upstream.last().headers("x-original-path"), "/%61pi/x");
}
