//! What becomes of a route's requests, prepared.

use std::borrow::Cow;
use std::sync::Arc;

use transom_api::LocalReply;
use transom_config::{DirectResponse, Redirect, RedirectPath, RetryPolicy};

use super::hosts;
use super::matcher::{ASTERISK, Matcher, PathTest, PatternId, Patterns, PatternsBuilder, Request};
use crate::cluster::ClusterId;
use crate::http::head::{Head, Pseudo};

/// What becomes of a route's requests.
#[derive(Debug)]
pub(crate) enum Action {
    Forward(Forward),
    Redirect(Redirect),
    DirectResponse(DirectResponse),
}

/// How requests are sent on.
#[derive(Debug)]
pub(crate) struct Forward {
    /// Each with the sum of its weight and those before it, so that the last one has them all.
    pub(crate) clusters: Box<[(u32, ClusterId)]>,
    pub(crate) path: Option<PathRewrite>,
    pub(crate) host: Option<Box<[u8]>>,
    pub(crate) retry: Option<Arc<RetryPolicy>>,
    /// The host gets the bytes of a CONNECT's tunnel only.
    pub(crate) terminate_connect: bool,
}

/// What is put in place of a path.
#[derive(Debug)]
pub(crate) enum PathRewrite {
    /// This instead of what the route matched.
    Prefix(Box<[u8]>),
    /// This instead of all that the pattern matches.
    Regex(PatternId, Box<[u8]>),
}

impl Action {
    pub(crate) fn terminates_connect(&self) -> bool {
        matches!(self, Self::Forward(forward) if forward.terminate_connect)
    }
}

impl Forward {
    /// Clusters with their weights, of which one at least is not zero.
    pub(crate) fn new(
        clusters: impl Iterator<Item = (u32, ClusterId)>,
        path: Option<PathRewrite>,
        host: Option<&str>,
    ) -> Self {
        let mut sum = 0_u32;
        let clusters = clusters.filter(|(weight, _)| *weight > 0);
        Self {
            clusters: clusters
                .map(|(weight, cluster)| {
                    sum = sum.saturating_add(weight);
                    (sum, cluster)
                })
                .collect(),
            path,
            host: host.map(|host| host.as_bytes().into()),
            retry: None,
            terminate_connect: false,
        }
    }

    /// One of the clusters, by a number that is as good as any.
    pub(crate) fn pick(&self, random: impl FnOnce() -> u64) -> Option<ClusterId> {
        match &*self.clusters {
            [] => None,
            [(_, only)] => Some(*only),
            clusters => {
                let (sum, _) = clusters.last()?;
                let at = random() % u64::from(*sum);
                let found = clusters.iter().find(|(upto, _)| at < u64::from(*upto));
                found.map(|(_, cluster)| *cluster)
            }
        }
    }
}

impl PathRewrite {
    pub(crate) fn new(
        rewrite: &transom_config::PathRewrite,
        patterns: &mut PatternsBuilder,
    ) -> Self {
        match rewrite {
            transom_config::PathRewrite::Prefix(prefix) => Self::Prefix(prefix.as_bytes().into()),
            transom_config::PathRewrite::Regex(pattern, substitution) => {
                Self::Regex(patterns.add(pattern), substitution.as_bytes().into())
            }
        }
    }

    /// The new path with the query as it was; `None` when it stays.
    pub(crate) fn of(
        &self,
        matcher: &Matcher,
        patterns: &Patterns,
        request: &Request<'_>,
    ) -> Option<Vec<u8>> {
        let path = match self {
            // It asks about the server, not about what is below a path.
            Self::Prefix(_) if request.path == ASTERISK => return None,
            Self::Prefix(prefix) => Cow::Owned(replace_prefix(matcher, request.path, prefix)),
            Self::Regex(id, substitution) => {
                let regex = patterns.get(*id)?;
                regex.replace_all(request.path, &**substitution)
            }
        };
        (*path != *request.path).then(|| with_query(&path, request))
    }
}

/// The answer of a redirect.
pub(crate) fn redirect(redirect: &Redirect, matcher: &Matcher, head: &Head) -> LocalReply {
    LocalReply::new(redirect.status)
        .header("location", location(redirect, matcher, head))
        .details("direct_response")
}

/// The answer of a route's own.
pub(crate) fn direct_response(direct: &DirectResponse) -> LocalReply {
    LocalReply::new(direct.status)
        .body(direct.body.as_bytes())
        .details("direct_response")
}

/// Where a client shall ask: an absolute URI (RFC 9110 section 10.2.2), so that a path with two slashes at its beginning
/// cannot become a host.
pub(crate) fn location(redirect: &Redirect, matcher: &Matcher, head: &Head) -> Vec<u8> {
    let request = Request::of(head);
    let old_scheme = head.pseudo(Pseudo::Scheme).unwrap_or(b"http");
    let scheme = redirect.scheme.as_deref().map_or(old_scheme, str::as_bytes);
    let (old_host, old_port) = hosts::split(request.authority);
    let host = redirect.host.as_deref().map_or(old_host, str::as_bytes);
    let written_port = redirect.port.map(|port| port.to_string());
    let port = match (&written_port, old_port) {
        (Some(port), _) => Some(port.as_bytes()).filter(|port| *port != default_port(scheme)),
        (None, _) if redirect.host.is_some() => None,
        (None, Some(port)) => {
            Some(port).filter(|port| scheme == old_scheme || *port != default_port(old_scheme))
        }
        (None, None) => None,
    };
    let path = match &redirect.path {
        // As a URI it is one without a path (RFC 9112 section 3.2.4); behind an authority it would be a part of it.
        None if request.path == ASTERISK => Cow::Borrowed(&[][..]),
        None => Cow::Borrowed(request.path),
        Some(RedirectPath::Whole(path)) => Cow::Borrowed(path.as_bytes()),
        Some(RedirectPath::Prefix(prefix)) => {
            Cow::Owned(replace_prefix(matcher, request.path, prefix.as_bytes()))
        }
    };
    let target = if redirect.strip_query {
        path.into_owned()
    } else {
        with_query(&path, &request)
    };
    if host.is_empty() {
        // A client of HTTP/1.0 may name no host. Without one the first slashes must be one.
        let rest = target.iter().position(|byte| *byte != b'/');
        let rest = rest.and_then(|at| target.get(at..)).unwrap_or_default();
        return [b"/", rest].concat();
    }
    let mut location = [scheme, b"://", host].concat();
    if let Some(port) = port {
        location.push(b':');
        location.extend_from_slice(port);
    }
    location.extend_from_slice(&target);
    location
}

fn default_port(scheme: &[u8]) -> &'static [u8] {
    if scheme == b"https" { b"443" } else { b"80" }
}

/// A path with something else in place of what its route matched.
fn replace_prefix(matcher: &Matcher, path: &[u8], with: &[u8]) -> Vec<u8> {
    let rest = match &matcher.path {
        PathTest::Prefix(prefix) => path.strip_prefix(&**prefix),
        PathTest::Exact(exact) => path.strip_prefix(&**exact),
        // The loader has refused it.
        PathTest::Any | PathTest::Regex(_) | PathTest::Connect => None,
    };
    [with, rest.unwrap_or_default()].concat()
}

fn with_query(path: &[u8], request: &Request<'_>) -> Vec<u8> {
    // A question mark without a query is kept too.
    let target = request.head.pseudo(Pseudo::Path).unwrap_or_default();
    let query = target.get(request.path.len()..).unwrap_or_default();
    [path, query].concat()
}

#[cfg(test)]
mod tests {
    use transom_config::{PathMatch, Pattern};

    use super::super::matcher::PatternsBuilder;
    use super::*;

    fn head(authority: &str, target: &str) -> Head {
        let mut head = Head::default();
        head.set_pseudo(Pseudo::Scheme, b"http");
        head.set_pseudo(Pseudo::Authority, authority.as_bytes());
        head.set_pseudo(Pseudo::Path, target.as_bytes());
        head
    }

    fn matcher(path: PathMatch) -> Matcher {
        Matcher::new(&path.into(), &mut PatternsBuilder::default())
    }

    const KEEP: Redirect = Redirect {
        status: 301,
        scheme: None,
        host: None,
        port: None,
        path: None,
        strip_query: false,
    };

    #[test]
    fn a_redirect_keeps_what_it_does_not_name() {
        let text = |text: &str| Some(text.to_owned());
        let whole = |path: &str| Some(RedirectPath::Whole(path.to_owned()));
        let prefix = |path: &str| Some(RedirectPath::Prefix(path.to_owned()));
        let https = Redirect {
            scheme: text("https"),
            ..KEEP
        };
        let foo = Redirect {
            host: text("foo.com"),
            ..KEEP
        };
        for (redirect, authority, target, expected) in [
            (KEEP, "a.org:8080", "/a/b?c", "http://a.org:8080/a/b?c"),
            (KEEP, "a.org:80", "/a?", "http://a.org:80/a?"),
            (KEEP, "a.org:80", "*", "http://a.org:80"),
            (KEEP, "", "*", "/"),
            (https.clone(), "a.org:80", "/a?b", "https://a.org/a?b"),
            (https.clone(), "a.org:443", "/a", "https://a.org:443/a"),
            (https.clone(), "a.org:8080", "/a", "https://a.org:8080/a"),
            (https, "[::1]:80", "/a", "https://[::1]/a"),
            (foo.clone(), "a.org:8080", "/a?b", "http://foo.com/a?b"),
            (
                Redirect {
                    port: Some(81),
                    ..foo
                },
                "a.org:8080",
                "/a",
                "http://foo.com:81/a",
            ),
            (
                Redirect {
                    port: Some(80),
                    ..KEEP
                },
                "a.org:8080",
                "/a",
                "http://a.org/a",
            ),
            (
                Redirect {
                    path: whole("/foo"),
                    ..KEEP
                },
                "a.org",
                "/a/b?c",
                "http://a.org/foo?c",
            ),
            (
                Redirect {
                    path: prefix("/new/"),
                    ..KEEP
                },
                "a.org",
                "/a/b?c",
                "http://a.org/new/b?c",
            ),
            (
                Redirect {
                    strip_query: true,
                    ..KEEP
                },
                "a.org",
                "/a?b",
                "http://a.org/a",
            ),
            (KEEP, "", "//evil.test/a", "/evil.test/a"),
            (KEEP, "a.org", "//evil.test/a", "http://a.org//evil.test/a"),
        ] {
            let matcher = matcher(PathMatch::Prefix("/a/".to_owned()));
            let location = location(&redirect, &matcher, &head(authority, target));
            assert_eq!(
                String::from_utf8(location).unwrap(),
                expected,
                "{redirect:?}"
            );
        }
    }

    #[test]
    fn paths_are_rewritten_and_queries_stay() {
        let mut patterns = PatternsBuilder::default();
        let users = patterns.add(&Pattern::anywhere("/user/([0-9]+)").unwrap());
        let patterns = patterns.finish();
        let prefix = |text: &str| PathRewrite::Prefix(text.as_bytes().into());
        let regex = |text: &str| PathRewrite::Regex(users, text.as_bytes().into());
        let (all, api, exact) = (
            matcher(PathMatch::Prefix("/".to_owned())),
            matcher(PathMatch::Prefix("/api/".to_owned())),
            matcher(PathMatch::Exact("/api/".to_owned())),
        );
        for (rewrite, matcher, target, expected) in [
            (prefix("/"), &api, "/api/x?y=/api/", Some("/x?y=/api/")),
            (prefix("/v2/"), &api, "/api/", Some("/v2/")),
            (prefix("/one"), &exact, "/api/?", Some("/one?")),
            (prefix("/api/"), &api, "/api/x", None),
            (prefix("/api/"), &all, "*", None),
            (
                regex("/p/$1"),
                &api,
                "/user/7/user/8?/user/9",
                Some("/p/7/p/8?/user/9"),
            ),
            (regex("/p/$1"), &api, "/other", None),
            (regex(""), &api, "/user/7", Some("")),
        ] {
            let head = head("a.org", target);
            let path = rewrite.of(matcher, &patterns, &Request::of(&head));
            let path = path.map(|path| String::from_utf8(path).unwrap());
            assert_eq!(path.as_deref(), expected, "{rewrite:?} {target}");
        }
    }

    #[test]
    fn clusters_get_their_shares() {
        let clusters = [(0, 7), (3, 1), (0, 8), (1, 2)];
        let clusters = clusters.map(|(weight, id)| (weight, ClusterId(id)));
        let forward = Forward::new(clusters.into_iter(), None, None);
        let picked: Vec<u32> = (0..8).map(|at| forward.pick(|| at).unwrap().0).collect();
        assert_eq!(picked, [1, 1, 1, 2, 1, 1, 1, 2]);
        let none = Forward::new(std::iter::empty(), None, None);
        assert!(none.pick(|| 0).is_none());
    }
}
