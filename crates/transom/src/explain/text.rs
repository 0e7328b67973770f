//! An explanation for a person.

use std::fmt::Write;

use transom_api::units::format_duration;
use transom_api::{FailurePolicy, Phase};
use transom_proxy::control::explain::{
    Candidate, End, Explanation, FilterUse, Forwarded, Holds, HttpExplanation, ORIGINAL_DST, Part,
    Place, RouteAction, Target,
};

use super::request::Asked;

/// What is asked, and then a part for each step of the request's way.
pub(super) fn render(asked: &Asked, explanation: &Explanation) -> String {
    let mut page = Page::default();
    page.line(&format!("{} {}", asked.method, asked.url));
    let host = match asked.authority.as_str() {
        "" => "without a host",
        authority => authority,
    };
    page.line(&match asked.path.as_str() {
        // CONNECT's.
        "" => format!("  host {host}"),
        path => format!("  host {host}, path {path}"),
    });
    page.candidates("listener", &explanation.listeners);
    if !explanation.network_filters.is_empty() {
        page.part("network filters", [explanation.network_filters.join(", ")]);
    }
    match &explanation.end {
        End::TcpProxy(targets) => {
            page.part(
                "tcp_proxy",
                ["the bytes go on as they are: nobody looks at the request".to_owned()],
            );
            for target in targets {
                if targets.len() > 1 {
                    let when = match target.when.as_str() {
                        "" => "all others",
                        when => when,
                    };
                    page.part(&format!("{when}, share {}", target.weight), []);
                }
                page.target(&target.target);
            }
        }
        End::Http(http) => page.http(http),
        End::Filter(name) => page.part(
            name,
            ["this network filter answers the client itself".to_owned()],
        ),
    }
    if let End::Http(http) = &explanation.end {
        page.line("");
        page.line("Filters were not run: what one of them answers or changes is not known here.");
        let unused = asked.fields.iter().map(|(name, _)| name.as_str());
        let unused: Vec<&str> = unused
            .filter(|name| !http.fields.iter().any(|it| it.eq_ignore_ascii_case(name)))
            .collect();
        if !unused.is_empty() {
            page.line(&format!("Only filters look at: {}.", unused.join(", ")));
        }
    }
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// A title and its lines.
    fn part(&mut self, title: &str, lines: impl IntoIterator<Item = String>) {
        self.line("");
        self.line(title);
        for line in lines {
            self.line(&format!("  {line}"));
        }
    }

    /// The one that is taken is marked.
    fn candidates(&mut self, title: &str, candidates: &[Candidate]) {
        let width = widest(candidates.iter().map(|candidate| candidate.name.as_str()));
        let lines = candidates.iter().map(|candidate| {
            let mark = if candidate.taken { '>' } else { ' ' };
            format!("{mark} {:width$}  {}", candidate.name, candidate.why)
        });
        self.part(title, lines);
    }

    fn http(&mut self, http: &HttpExplanation) {
        if let Some(path) = &http.path {
            self.part("path, as filters and routes see it", [path.clone()]);
        }
        if http.is_refused {
            let why = "the option `paths` refuses it: the answer is 400";
            self.part("path", [why.to_owned()]);
            return;
        }
        let table = &http.route_table;
        self.candidates(
            &format!("virtual host, of route table {table}"),
            &http.virtual_hosts,
        );
        if !http.routes.is_empty() {
            self.candidates("route", &http.routes);
        }
        match &http.action {
            None => self.part("no route", ["the answer is 404".to_owned()]),
            Some(RouteAction::Redirect { status, location }) => {
                self.part(
                    "redirect",
                    [format!("the answer is {status}, to {location}")],
                );
            }
            Some(RouteAction::DirectResponse { status }) => {
                self.part("direct response", [format!("the answer is {status}")]);
            }
            Some(RouteAction::Forward(_)) => {}
        }
        if !http.filters.is_empty() {
            self.part(
                "filters, as the request passes them",
                filters(&http.filters),
            );
            if !http.response_order.is_empty() {
                let order = http.response_order.join(", ");
                self.part("filters, as the response passes them", [order]);
            }
        }
        if let Some(RouteAction::Forward(forwarded)) = &http.action {
            self.forwarded(forwarded);
            let timeout = if http.timeout.is_zero() {
                "none".to_owned()
            } else {
                format_duration(http.timeout)
            };
            self.part("timeout of the stream", [timeout]);
        }
        if !http.access_logs.is_empty() {
            self.part("access logs", [http.access_logs.join(", ")]);
        }
    }

    fn forwarded(&mut self, forwarded: &Forwarded) {
        let rewritten = [
            ("the path becomes", &forwarded.path),
            ("the host becomes", &forwarded.authority),
        ];
        let rewritten: Vec<String> = rewritten
            .into_iter()
            .filter_map(|(what, value)| Some(format!("{what} {}", value.as_ref()?)))
            .collect();
        if !rewritten.is_empty() {
            self.part("rewrite", rewritten);
        }
        if let Some(retry) = &forwarded.retry {
            let on: Vec<String> = retry.on.iter().map(|on| on.name()).collect();
            let times = retry.attempts;
            let line = format!("up to {times} more after {}", on.join(", "));
            self.part("retry", vec![line]);
        }
        if let [_, _, ..] = forwarded.targets.as_slice() {
            let shares = forwarded.targets.iter();
            let shares = shares.map(|(weight, it)| format!("{}  weight {weight}", it.cluster));
            self.part("one of these clusters, by chance", shares);
        }
        for (_, target) in &forwarded.targets {
            self.target(target);
        }
    }

    fn target(&mut self, target: &Target) {
        let hosts = target
            .hosts
            .iter()
            .map(|(address, weight)| format!("{address}  weight {weight}"));
        let title = format!(
            "cluster {}, by {}, connected within {}",
            target.cluster,
            target.load_balancing,
            format_duration(target.connect_timeout)
        );
        self.part(&title, hosts);
        if target.load_balancing == ORIGINAL_DST {
            self.line("  the host is where the client wanted to go");
        } else if target.hosts.is_empty() {
            self.line("  no hosts: the answer is 502");
        }
    }
}

/// The filters below the phases in which they stand.
fn filters(filters: &[FilterUse]) -> Vec<String> {
    let width = widest(filters.iter().map(|filter| filter.name.as_str()));
    let mut lines = Vec::new();
    let mut phase = None;
    for filter in filters {
        if phase != Some(filter.phase) {
            phase = Some(filter.phase);
            lines.push(
                filter
                    .phase
                    .map_or("phase known when prepared", Phase::name)
                    .to_owned(),
            );
        }
        let mut line = format!("  {:width$}  {}", filter.name, part(filter.part));
        let runs = matches!(filter.part, Part::Runs(_));
        match filter.when {
            Some(Holds::Yes) if runs => line.push_str(", as its `when` holds"),
            Some(Holds::Perhaps) if runs => {
                line.push_str(", if its `when` holds, which asks for more than the request");
            }
            _ => {}
        }
        if let Some(percent) = filter.sample.filter(|_| runs) {
            let _ = write!(line, ", for {percent} % of such requests");
        }
        if filter.name != filter.extension {
            // Writing to a string cannot fail.
            let _ = write!(line, ", is a {}", filter.extension);
        }
        if filter.on_failure == FailurePolicy::Open {
            line.push_str(", goes on without it when it fails");
        }
        lines.push(line);
    }
    lines
}

fn part(part: Part) -> &'static str {
    match part {
        Part::Runs(Place::Listener) => "runs",
        Part::Runs(Place::VirtualHost) => "runs with the virtual host's configuration",
        Part::Runs(Place::Route) => "runs with the route's configuration",
        Part::Disabled(Place::Listener) => "disabled",
        Part::Disabled(Place::VirtualHost) => "disabled by the virtual host",
        Part::Disabled(Place::Route) => "disabled by the route",
        Part::LeftOut => "left out: its `when` does not hold",
        Part::NotReached => "not reached: there is no host to choose",
    }
}

fn widest<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0)
}
