//! Routes through the real proxy: what they match, what becomes of the request, and what the upstream sees.

use transom_e2e::{Client, Message, Plane, Setup, Upstream};

/// Sends a GET with more fields.
fn get(plane: &Plane, path: &str, fields: &str) -> Message {
    let mut client: Client = plane.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    client.answer()
}

/// A direct response that names its route.
fn named(matcher: &str, name: &str) -> String {
    format!("{{match: {matcher}, direct_response: {{status: 200, body: {name}}}}}")
}

#[test]
fn the_first_route_that_matches_answers() {
    let upstream = Upstream::ok("rest");
    let plane = Setup::to(&upstream)
        .route(&named("{path: /a, methods: [POST]}", "post"))
        .route(&named("{regex: '/[0-9]+'}", "number"))
        .route(&named(
            "{path: /a, headers: [{name: x-user, exact: admin}]}",
            "admin",
        ))
        .route(&named(
            "{prefix: /a, query: [{name: v, prefix: '2'}]}",
            "two",
        ))
        .route(&named("{path: /a}", "exact"))
        .route(&named(
            "{headers: [{name: x-any, present: true}]}",
            "header",
        ))
        .start();
    for (path, fields, expected) in [
        ("/a", "", "exact"),
        ("/a?v=2.1", "", "two"),
        ("/a", "X-User: admin\r\n", "admin"),
        ("/a", "X-User: admin\r\nx-user: admin\r\n", "exact"),
        ("/12", "x-any: 1\r\n", "number"),
        ("/12a", "x-any: 1\r\n", "header"),
        ("/12a", "", "rest"),
    ] {
        assert_eq!(
            get(&plane, path, fields).text(),
            expected,
            "{path} {fields}"
        );
    }
    assert_eq!(plane.client().post("/a", "").text(), "post");
}

#[test]
fn a_direct_response_passes_the_filters_before_and_the_filters_back() {
    let upstream = Upstream::ok("never");
    let plane = Setup::to(&upstream)
        .filter("{name: header_match, config: {User: admin}}")
        .filter("{name: header_match, id: late, phase: after_route, config: {Late: good}}")
        .filter("{name: header_mutation, config: {response: {set: {x-seen: yes}}}}")
        .route(
            "{match: {path: /direct}, direct_response: {status: 201, body: made}, \
              response_headers: {set: {content-type: text/css}, add: {x-route: direct}}}",
        )
        .route("{match: {path: /away}, redirect: {scheme: https, host: other.test, code: 307}}")
        .start();
    assert_eq!(get(&plane, "/direct", "").status(), 403);
    // The guard of the second phase guards what the route itself answers too.
    for path in ["/direct", "/away"] {
        assert_eq!(get(&plane, path, "User: admin\r\n").status(), 403, "{path}");
    }
    let fields = "User: admin\r\nLate: good\r\n";
    let direct = get(&plane, "/direct", fields);
    assert_eq!((direct.status(), direct.text()), (201, "made".into()));
    assert_eq!(direct.headers("content-type"), "text/css");
    assert_eq!(direct.headers("x-route"), "direct");
    assert_eq!(direct.headers("x-seen"), "yes");
    let away = get(&plane, "/away?q", fields);
    assert_eq!(away.status(), 307);
    assert_eq!(away.headers("location"), "https://other.test/away?q");
    assert!(upstream.requests().is_empty());
}

#[test]
fn requests_are_rewritten_and_the_path_as_it_was_goes_along() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .route(
            "{match: {prefix: /api/}, cluster: up, rewrite: {prefix: /, host: inner.test}, \
              request_headers: {remove: [x-gone], set: {x-set: new}, add: {x-add: more}}, \
              response_headers: {add: {x-back: here}}}",
        )
        .route(
            "{match: {prefix: /u/}, cluster: up, \
              rewrite: {regex: {pattern: '/u/([0-9]+)', substitution: '/user/$1'}}}",
        )
        .route("{match: {path: /bad}, cluster: up, rewrite: {regex: {pattern: '^/', substitution: ''}}}")
        .start();
    let fields = "X-Gone: 1\r\nx-set: old\r\nx-add: first\r\nx-original-path: /forged\r\n";
    let answer = get(&plane, "/api/x?y=/api/", fields);
    assert_eq!(answer.headers("x-back"), "here");
    let seen = upstream.last();
    assert_eq!(seen.target(), "/x?y=/api/");
    assert_eq!(seen.headers("host"), "inner.test");
    assert_eq!(seen.headers("x-original-path"), "/api/x?y=/api/");
    assert_eq!(seen.headers("x-gone"), "");
    assert_eq!(seen.headers("x-set"), "new");
    assert_eq!(seen.headers("x-add"), "first,more");

    assert_eq!(plane.get("/u/7/x?u=/u/1").status(), 200);
    assert_eq!(upstream.last().target(), "/user/7/x?u=/u/1");
    assert_eq!(plane.get("/u/x").status(), 200);
    assert_eq!(upstream.last().target(), "/u/x");
    assert_eq!(upstream.last().headers("x-original-path"), "");
    assert_eq!(plane.get("/bad").status(), 500);
}

#[test]
fn weighted_clusters_get_their_shares() {
    let (many, few, none) = (
        Upstream::ok("many"),
        Upstream::ok("few"),
        Upstream::ok("none"),
    );
    let plane = Setup::to(&many)
        .cluster("few", &[few.address()])
        .cluster("none", &[none.address()])
        .route(
            "{match: {prefix: /}, weighted_clusters: [{cluster: none, weight: 0}, \
              {cluster: up, weight: 3}, {cluster: few, weight: 1}]}",
        )
        .start();
    let mut client = plane.client();
    let count = 400;
    let of_few = (0..count)
        .filter(|_| client.get("/").text() == "few")
        .count();
    // 100 are expected; ten standard deviations (8.7 each) are never seen.
    assert!((13..=187).contains(&of_few), "{of_few} of {count}");
    assert_eq!(many.requests().len() + few.requests().len(), count);
    assert!(none.requests().is_empty());
}

#[test]
fn a_host_that_is_chosen_again_is_of_the_same_cluster() {
    let hosts = ["a", "b", "c", "d"].map(Upstream::ok);
    let [a, b, c, d] = &hosts;
    let plane = Setup::to(a)
        .no_clusters()
        .cluster("up", &[a.address(), b.address()])
        .cluster("two", &[c.address(), d.address()])
        .filter("{name: rechoose}")
        .route(
            "{match: {prefix: /}, weighted_clusters: [{cluster: up, weight: 1}, {cluster: two, weight: 1}]}",
        )
        .start();
    let mut client = plane.client();
    for _ in 0..40 {
        // Each request takes two turns of its cluster, so it ends at the second host, unless the cluster changes between.
        let answer = client.get("/").text();
        assert!(["b", "d"].contains(&answer.as_str()), "{answer}");
    }
    assert!(!b.requests().is_empty() && !d.requests().is_empty());
}
