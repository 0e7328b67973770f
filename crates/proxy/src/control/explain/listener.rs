//! Which listener a client reaches.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use transom_api::node::known;
use transom_config::{
    Chain, ChainIndex, ConnectionFacts, ListenAddress, Listener, Resources, TransportProtocol,
};

use super::{Candidate, Destination, ExplainError, Request};

/// The listener that the request reaches, and what is to be said of all of them.
pub(super) fn choose<'r>(
    resources: &'r Resources,
    request: &Request<'_>,
) -> Result<(&'r Arc<Listener>, Vec<Candidate>), ExplainError> {
    let (taken, why) = find(resources, request)?;
    let candidates = resources.listeners.values().map(|listener| {
        let is_taken = Arc::ptr_eq(listener, taken);
        let address = &listener.address.value;
        let why = if is_taken {
            why.clone()
        } else {
            format!("it listens on {address}")
        };
        Candidate::new(&listener.name, is_taken, why)
    });
    Ok((taken, candidates.collect()))
}

fn find<'r>(
    resources: &'r Resources,
    request: &Request<'_>,
) -> Result<(&'r Arc<Listener>, String), ExplainError> {
    let names: Vec<&str> = resources.listeners.keys().map(String::as_str).collect();
    if let Some(name) = request.listener {
        return resources
            .listeners
            .get(name)
            .map(|listener| (listener, "it was asked for by its name".to_owned()))
            .ok_or_else(|| ExplainError {
                message: format!("there is no listener `{name}`"),
                help: known(name, "listeners", &names),
            });
    }
    let reached: Vec<_> = match request.destination {
        Some(destination) => reached(resources, destination),
        None => Vec::new(),
    };
    let all: Vec<_> = resources.listeners.values().collect();
    match (reached.as_slice(), all.as_slice(), request.destination) {
        ([listener], _, _) => Ok((
            listener,
            format!("it listens on {}", listener.address.value),
        )),
        ([], [only], Some(_)) => Ok((
            only,
            format!(
                "the URL leads elsewhere, but it is the only one: it listens on {}",
                only.address.value
            ),
        )),
        ([], [only], None) => Ok((only, "it is the only one".to_owned())),
        ([], [], _) => Err(ExplainError {
            message: "the configuration has no listener".to_owned(),
            help: "write one below `listeners`".to_owned(),
        }),
        ([], _, Some(destination)) => Err(ExplainError {
            message: format!(
                "no listener has the port {} of {}",
                destination.port, destination.host
            ),
            help: name_one(&names),
        }),
        ([], _, None) => Err(ExplainError {
            message: "the request does not say which listener it reaches".to_owned(),
            help: name_one(&names),
        }),
        ([..], _, _) => Err(ExplainError {
            message: "more than one listener has this port".to_owned(),
            help: name_one(
                &reached
                    .iter()
                    .map(|listener| listener.name.as_str())
                    .collect::<Vec<_>>(),
            ),
        }),
    }
}

/// The chain of a listener that the request takes. A listener whose TLS looks at names is asked with the request's own,
/// and as long as no chain that speaks TLS takes it, as HTTP without TLS.
pub(super) fn chain<'r>(
    listener: &'r Listener,
    request: &Request<'_>,
) -> Result<Chain<'r>, ExplainError> {
    let nothing = || ExplainError {
        message: format!(
            "no filter chain of the listener `{}` takes this request",
            listener.name
        ),
        help: "write `network_filters` in the listener: they are for all that no chain matches"
            .to_owned(),
    };
    let default = listener.chains().find(|chain| chain.name.is_empty());
    if listener.filter_chains.is_empty() {
        return default.ok_or_else(nothing);
    }
    let matches = listener.filter_chains.iter().map(|chain| &chain.matches);
    let index = ChainIndex::new(matches).map_err(|_| nothing())?;
    let host = request.authority.rsplit_once(':');
    let host = host.map_or(request.authority, |(host, _)| host);
    let server_name = host.to_ascii_lowercase();
    let protocols = ["http/1.1".to_owned()];
    let find = |transport_protocol| {
        let facts = ConnectionFacts {
            destination: request.destination.map(|destination| {
                let ip = destination.host.parse();
                SocketAddr::new(
                    ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                    destination.port,
                )
            }),
            server_name: (transport_protocol == TransportProtocol::Tls)
                .then_some(server_name.as_str()),
            transport_protocol,
            application_protocols: &protocols,
            direct_source: None,
            source: None,
        };
        listener.chains().nth(index.find(&facts)?)
    };
    find(TransportProtocol::Tls)
        .filter(|chain| chain.tls.is_some())
        .or_else(|| find(TransportProtocol::Raw))
        .or(default)
        .ok_or_else(nothing)
}

fn name_one(names: &[&str]) -> String {
    format!("name one with --listener: {}", names.join(", "))
}

/// Those that a connection to `destination` may reach. As in the kernel a listener on the very address goes before one
/// on all addresses.
fn reached<'r>(resources: &'r Resources, destination: Destination<'_>) -> Vec<&'r Arc<Listener>> {
    let ip: Option<IpAddr> = destination.host.parse().ok();
    let on_port = |listener: &Arc<Listener>| match &listener.address.value {
        ListenAddress::Tcp(address) => {
            (address.port() == destination.port).then_some(SocketAddr::ip(address))
        }
        ListenAddress::Unix(_) | ListenAddress::Udp(_) => None,
    };
    let (mut exact, mut any) = (Vec::new(), Vec::new());
    for listener in resources.listeners.values() {
        match (on_port(listener), ip) {
            (None, _) => {}
            (Some(own), Some(ip)) if own == ip => exact.push(listener),
            (Some(own), Some(ip)) if own.is_unspecified() && own.is_ipv4() == ip.is_ipv4() => {
                any.push(listener);
            }
            (Some(_), Some(_)) => {}
            // What a name means is not looked up.
            (Some(_), None) => any.push(listener),
        }
    }
    if exact.is_empty() { any } else { exact }
}
