//! What becomes of a route's requests, and of their headers.

use transom_api::field::Pseudo;
use transom_api::{HeaderError, HeaderMap, Span, field};

use super::{Lowering, refer};
use crate::file;
use crate::report::Problem;
use crate::{
    DirectResponse, Forward, HeaderEdits, Located, PathRewrite, Pattern, Redirect, RedirectPath,
    RetryPolicy, RouteAction, WeightedCluster,
};

/// What a route says of its requests.
pub(super) struct Written {
    /// The route.
    pub(super) place: Option<Span>,
    /// Its `match`.
    pub(super) asked: Option<Span>,
    /// The route matches by something that a prefix can take the place of.
    pub(super) matches_prefix: bool,
    pub(super) cluster: Option<Located<String>>,
    pub(super) weighted_clusters: Option<Located<file::Items<Located<file::WeightedCluster>>>>,
    pub(super) redirect: Option<Located<file::Redirect>>,
    pub(super) direct_response: Option<Located<file::DirectResponse>>,
    pub(super) rewrite: Option<Located<file::Rewrite>>,
    pub(super) retry: Option<Located<file::Retry>>,
}

impl Lowering<'_> {
    pub(super) fn action(&mut self, written: Written) -> Option<RouteAction> {
        const KEYS: &str =
            "write one of `cluster`, `weighted_clusters`, `redirect`, `direct_response`";
        let given = [
            written.cluster.as_ref().map(|it| ("cluster", it.span)),
            written
                .weighted_clusters
                .as_ref()
                .map(|it| ("weighted_clusters", it.span)),
            written.redirect.as_ref().map(|it| ("redirect", it.span)),
            written
                .direct_response
                .as_ref()
                .map(|it| ("direct_response", it.span)),
        ];
        let mut given = given.into_iter().flatten();
        let Some((first, _)) = given.next() else {
            if !self.problems.any_within(written.place) {
                let message = "this route does not say what becomes of its requests";
                self.problems
                    .push(Problem::new(message, written.place).with_help(KEYS));
            }
            return None;
        };
        if let Some((second, place)) = given.next() {
            let message = format!("`{first}` and `{second}` exclude each other");
            self.problems
                .push(Problem::new(message, place).with_help(KEYS));
            return None;
        }
        let needs_prefix = |prefix: &Located<String>| {
            (!written.matches_prefix).then(|| {
                Problem::new(
                    "there is no prefix that this could take the place of",
                    prefix.span,
                )
                .with_label(written.asked, "this matches by neither `prefix` nor `path`")
            })
        };
        if let (Some(rewrite), true) = (
            &written.rewrite,
            written.redirect.is_some() || written.direct_response.is_some(),
        ) {
            let message = "`rewrite` is for requests that are sent on";
            self.problems.push(Problem::new(message, rewrite.span));
        }
        if let (Some(retry), true) = (
            &written.retry,
            written.redirect.is_some() || written.direct_response.is_some(),
        ) {
            let message = "`retry` is for requests that are sent on";
            self.problems.push(Problem::new(message, retry.span));
        }
        if let Some(redirect) = written.redirect {
            let prefix = redirect.prefix.as_ref().and_then(needs_prefix);
            if let Some(problem) = prefix {
                self.problems.push(problem);
            }
            return self.redirect(redirect.value).map(RouteAction::Redirect);
        }
        if let Some(direct) = written.direct_response {
            return Some(RouteAction::DirectResponse(DirectResponse {
                status: u16::try_from(direct.value.status.0).ok()?,
                body: direct.value.body,
            }));
        }
        let rewrite = written.rewrite.map(|it| it.value);
        let prefix = rewrite
            .as_ref()
            .and_then(|it| it.prefix.as_ref())
            .and_then(needs_prefix);
        if let Some(problem) = prefix {
            self.problems.push(problem);
        }
        let (path, host) = rewrite.map_or((None, None), |rewrite| self.rewrite(rewrite));
        let clusters = match (written.cluster, written.weighted_clusters) {
            (Some(cluster), _) => vec![WeightedCluster { cluster, weight: 1 }],
            (None, Some(clusters)) => self.weighted(clusters),
            (None, None) => Vec::new(),
        };
        for WeightedCluster { cluster, .. } in &clusters {
            refer("cluster", cluster, &self.clusters, self.problems);
        }
        Some(RouteAction::Forward(Forward {
            clusters,
            path,
            host,
            retry: written.retry.and_then(|retry| self.retry(retry.value)),
            // The route says so, if it takes CONNECT.
            terminate_connect: false,
        }))
    }

    fn retry(&mut self, retry: file::Retry) -> Option<RetryPolicy> {
        let Located { value: on, span } = retry.on;
        if on.items.is_empty() {
            if on.whole {
                self.problems.push(
                    Problem::new("a request is sent again after something", span)
                        .with_help("write what: [connect_failure, reset, 503]"),
                );
            }
            return None;
        }
        Some(RetryPolicy {
            on: on.items.into_iter().map(|on| on.0).collect(),
            attempts: retry.attempts.0,
            per_try_timeout: retry.per_try_timeout.map(|timeout| timeout.0),
            backoff: (retry.backoff.0, retry.backoff.1),
            body_limit: retry.body_limit.0,
        })
    }

    pub(super) fn weighted(
        &mut self,
        clusters: Located<file::Items<Located<file::WeightedCluster>>>,
    ) -> Vec<WeightedCluster> {
        let Located { value, span } = clusters;
        if value.whole && value.items.iter().all(|item| item.value.weight.0 == 0) {
            self.problems
                .push(Problem::new("no cluster here has a weight", span));
        }
        let items = value.items.into_iter();
        items
            .map(|Located { value, .. }| WeightedCluster {
                cluster: value.cluster,
                weight: value.weight.0,
            })
            .collect()
    }

    fn redirect(&mut self, redirect: file::Redirect) -> Option<Redirect> {
        let status = redirect.code;
        if !matches!(status.value.0, 301 | 302 | 303 | 307 | 308) {
            let message = format!("a redirect with the status {} is none", status.value.0);
            self.problems.push(
                Problem::new(message, status.span).with_help("write 301, 302, 303, 307 or 308"),
            );
        }
        if let Some(scheme) = &redirect.scheme
            && !matches!(scheme.as_str(), "http" | "https")
        {
            let message = format!("{:?} is no scheme here", scheme.value);
            self.problems
                .push(Problem::new(message, scheme.span).with_help("write http or https"));
        }
        if let Some(host) = &redirect.host {
            self.check_host(host, false);
        }
        let path = match (redirect.path, redirect.prefix) {
            (Some(path), None) => {
                self.check_path(&path);
                Some(RedirectPath::Whole(path.value))
            }
            (None, Some(prefix)) => {
                self.check_path(&prefix);
                Some(RedirectPath::Prefix(prefix.value))
            }
            (Some(_), Some(prefix)) => {
                let message = "`path` and `prefix` exclude each other";
                self.problems.push(Problem::new(message, prefix.span));
                None
            }
            (None, None) => None,
        };
        Some(Redirect {
            status: u16::try_from(status.value.0).ok()?,
            scheme: redirect.scheme.map(|it| it.value),
            host: redirect.host.map(|it| it.value),
            port: match redirect.port {
                Some(port) => Some(u16::try_from(port.0).ok()?),
                None => None,
            },
            path,
            strip_query: redirect.strip_query,
        })
    }

    fn rewrite(&mut self, rewrite: file::Rewrite) -> (Option<PathRewrite>, Option<String>) {
        let path = match (rewrite.prefix, rewrite.regex) {
            (Some(prefix), None) => {
                self.check_path(&prefix);
                Some(PathRewrite::Prefix(prefix.value))
            }
            (None, Some(regex)) => self.regex_rewrite(regex.value),
            (Some(_), Some(regex)) => {
                let message = "`prefix` and `regex` exclude each other";
                self.problems.push(Problem::new(message, regex.span));
                None
            }
            (None, None) => None,
        };
        if let Some(host) = &rewrite.host {
            self.check_host(host, true);
        }
        (path, rewrite.host.map(|host| host.value))
    }

    fn regex_rewrite(&mut self, rewrite: file::RegexRewrite) -> Option<PathRewrite> {
        let file::RegexRewrite {
            pattern,
            substitution,
        } = rewrite;
        let pattern = match Pattern::anywhere(&pattern) {
            Ok(pattern) => pattern,
            Err(error) => {
                self.problems.push(error.or_at(pattern.span));
                return None;
            }
        };
        if let Err(error) = pattern.check_substitution(&substitution) {
            self.problems.push(error.or_at(substitution.span));
        }
        // What is put in must be what a path can have; that it begins with a slash is seen for each request.
        if !Pseudo::Path.takes(format!("/{}", substitution.value).as_bytes())
            || substitution.contains('?')
        {
            let message = format!("{:?} cannot be part of a path", substitution.value);
            self.problems.push(
                Problem::new(message, substitution.span).with_help(
                    "what is no path character is written %XX; the query stays as it is",
                ),
            );
        }
        Some(PathRewrite::Regex(pattern, substitution.value))
    }

    fn check_host(&mut self, host: &Located<String>, with_port: bool) {
        let name = match host.rsplit_once(':') {
            Some((name, port))
                if with_port && !port.ends_with(']') && port.parse::<u16>().is_ok() =>
            {
                name
            }
            _ => host.as_str(),
        };
        let is_address = name.starts_with('[') && name.ends_with(']');
        let is_good = !name.is_empty()
            && Pseudo::Authority.takes(name.as_bytes())
            && (is_address || !name.contains([':', '[', ']']));
        if !is_good {
            let message = format!("{:?} is no host", host.value);
            let help = if with_port {
                "write a.org or a.org:8080"
            } else {
                "write a.org, and the port under `port`"
            };
            self.problems
                .push(Problem::new(message, host.span).with_help(help));
        }
    }

    pub(super) fn edits(&mut self, map: HeaderMap, edits: file::HeaderEdits) -> HeaderEdits {
        let remove = edits.remove.items.into_iter().map(|name| {
            self.check_edit(map, &name, None);
            name.value
        });
        let remove = remove.collect();
        let mut pairs = |entries: file::Entries<Located<String>>| {
            let entries = entries.0.into_iter().map(|(name, value)| {
                self.check_edit(map, &name, Some(&value));
                (name.value, value.value)
            });
            entries.collect()
        };
        HeaderEdits {
            remove,
            set: pairs(edits.set),
            add: pairs(edits.add),
        }
    }

    fn check_edit(
        &mut self,
        map: HeaderMap,
        name: &Located<String>,
        value: Option<&Located<String>>,
    ) {
        if Pseudo::of(name.as_bytes()).is_some() {
            let message = format!("`{name}` is no header field here");
            self.problems.push(
                Problem::new(message, name.span)
                    .with_help("hosts and paths are changed by `rewrite`"),
            );
            return;
        }
        let text = value.map_or("", |value| value.as_str());
        match field::check(map, name.as_bytes(), text.as_bytes()) {
            Ok(()) => {}
            Err(HeaderError::Reserved) => {
                let message = format!("`{name}` belongs to the proxy");
                self.problems.push(
                    Problem::new(message, name.span)
                        .with_help("it frames the message, or concerns one connection"),
                );
            }
            Err(HeaderError::InvalidValue) => {
                let message = format!("{text:?} cannot be the value of a header field");
                let place = value.and_then(|value| value.span).or(name.span);
                self.problems.push(Problem::new(message, place));
            }
            Err(_) => {
                let message = format!("{:?} is no name of a header field", name.value);
                self.problems.push(Problem::new(message, name.span));
            }
        }
    }
}
