//! `dns`: services whose hosts are in DNS: records of type SRV (RFC 2782) of the service's name, or with `port` its addresses.
//!
//! ```yaml
//! service: _http._tcp.greeter.example.org
//! registry: {name: dns, config: {address: ["10.0.0.53"]}}
//! ```
//!
//! Records are used for as long as their TTL says, and are asked for again then. Of several priorities the lowest number counts.
//! A name without records has no hosts; a server that does not answer changes nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use transom_api::certificate_provider::Provide;
use transom_api::{
    Discovered, Node, ParseError, PrepareContext, PrepareError, Schema, ServiceHost,
    ServiceRegistry, Shape,
};

use crate::builtin::{Builtin, addresses, addresses_schema};

/// Names are asked for no more often, whatever their TTL: records with a TTL of zero are common.
const SHORTEST: Duration = Duration::from_secs(1);
/// And no less often: a TTL of days would keep hosts that are long gone.
const LONGEST: Duration = Duration::from_secs(300);
/// How long a name without records is believed to have none, when the zone does not say.
const NONE_FOR: Duration = Duration::from_secs(5);
/// When a server does not answer.
const AGAIN: Duration = Duration::from_secs(3);

/// The settings.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Empty: those of the system.
    servers: Vec<SocketAddr>,
    port: Option<u16>,
    shortest: Duration,
}

struct Resolving {
    resolver: TokioResolver,
    port: Option<u16>,
    shortest: Duration,
}

impl Builtin for Dns {
    fn schema() -> Schema {
        Schema::object()
            .optional(
                "address",
                addresses_schema("The servers that are asked: IP addresses, with a port if it is not 53; a list, or one text with commas. Those of /etc/resolv.conf when it is left out."),
            )
            .optional(
                "port",
                Schema::new(Shape::Integer(1, 65_535)).describe(
                    "Asks for the addresses of the name and uses this port. Asks for records of type SRV when it is left out.",
                ),
            )
            .optional(
                "min_ttl",
                Schema::new(Shape::Duration)
                    .describe("Records are used for so long at least, whatever they say; up to 5m.")
                    .or("1s"),
            )
            .describe("Services whose hosts are in DNS.")
    }

    fn parse(config: &Node) -> Result<Self, ParseError> {
        if config.is_null() {
            return Ok(Self {
                servers: Vec::new(),
                port: None,
                shortest: SHORTEST,
            });
        }
        let mut fields = config.as_fields()?;
        let servers = fields.optional("address");
        let port = fields.optional("port");
        let shortest = fields.optional("min_ttl");
        fields.finish()?;
        let server = |(text, node): (String, Node)| {
            let address = text.parse::<SocketAddr>();
            let address = address.or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 53).into()));
            address.map_err(|_| {
                node.error(format!("{text:?} is no address of a DNS server"))
                    .with_help("write an IP address, with a port if it is not 53")
            })
        };
        let servers = servers.map_or(Ok(Vec::new()), addresses)?;
        Ok(Self {
            servers: servers.into_iter().map(server).collect::<Result<_, _>>()?,
            port: port
                .map(|port| port.as_integer_in(1..=65_535))
                .transpose()?
                .and_then(|port| u16::try_from(port).ok()),
            shortest: match shortest {
                Some(node) => {
                    let shortest = node.as_duration()?;
                    if shortest > LONGEST || shortest < Duration::from_millis(10) {
                        return Err(node.error("this duration must be from 10ms to 5m"));
                    }
                    shortest
                }
                None => SHORTEST,
            },
        })
    }

    fn prepare(&self, _context: &PrepareContext) -> Result<Arc<dyn ServiceRegistry>, PrepareError> {
        let built = if self.servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = self.servers.iter().map(|server| {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                NameServerConfig::new(
                    server.ip(),
                    true,
                    vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())],
                )
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            Ok(TokioResolver::builder_with_config(
                config,
                TokioRuntimeProvider::default(),
            ))
        };
        let resolver = built.and_then(|mut builder| {
            // What is known is kept here, and asked for again when its time is over.
            builder.options_mut().cache_size = 0;
            builder.build()
        });
        let resolver = resolver.map_err(|error| {
            PrepareError::new(format!("the system's DNS settings cannot be used: {error}"))
                .with_help("name the servers in `address`")
        })?;
        Ok(Arc::new(Resolving {
            resolver,
            port: self.port,
            shortest: self.shortest,
        }))
    }
}

/// What was found, and until when it is good.
type Found = (Vec<ServiceHost>, Instant);

impl ServiceRegistry for Resolving {
    fn watch(self: Arc<Self>, service: String, hosts: Discovered) -> Provide<()> {
        Box::pin(async move {
            let mut last_fault = None;
            loop {
                let found = match self.port {
                    Some(port) => self.addresses(&service, port, 1).await,
                    None => self.services(&service).await,
                };
                let pause = match found {
                    Ok((found, until)) => {
                        last_fault = None;
                        hosts.tell(found);
                        until.saturating_duration_since(Instant::now())
                    }
                    Err(error) => {
                        let why = error.to_string();
                        if last_fault.as_ref() != Some(&why) {
                            tracing::warn!(service, "the hosts in DNS stay as they were: {why}");
                            last_fault = Some(why);
                        }
                        AGAIN
                    }
                };
                tokio::time::sleep(pause.clamp(self.shortest, LONGEST)).await;
            }
        })
    }
}

impl Resolving {
    /// The targets of the records of type SRV with the lowest priority.
    async fn services(&self, name: &str) -> Result<Found, NetError> {
        let found = match self.resolver.srv_lookup(name).await {
            Ok(found) => found,
            Err(error) => return none(error),
        };
        let mut until = found.valid_until();
        let mut targets: BTreeMap<u16, Vec<(String, u16, u32)>> = BTreeMap::new();
        for record in found.answers() {
            // A single dot says that the service is not there (RFC 2782).
            if let RData::SRV(srv) = &record.data
                && !srv.target.is_root()
            {
                // Weights go to 65535 there and to 128 here. Zero is a host like the others that have none.
                let weight = u32::from(srv.weight).max(1);
                let target = (srv.target.to_ascii(), srv.port, weight);
                targets.entry(srv.priority).or_default().push(target);
            }
        }
        let Some((_, mut targets)) = targets.pop_first() else {
            return Ok((Vec::new(), until));
        };
        scale(&mut targets);
        let mut hosts = Vec::new();
        for (target, port, weight) in targets {
            let (found, good) = self.addresses(&target, port, weight).await?;
            hosts.extend(found);
            until = until.min(good);
        }
        Ok((hosts, until))
    }

    async fn addresses(&self, name: &str, port: u16, weight: u32) -> Result<Found, NetError> {
        let found = match self.resolver.lookup_ip(name).await {
            Ok(found) => found,
            Err(error) => return none(error),
        };
        let hosts = found.iter().map(|ip| ServiceHost {
            address: SocketAddr::new(ip, port).to_string(),
            weight,
        });
        Ok((hosts.collect(), found.valid_until()))
    }
}

/// Brings weights to 1 to 128 in their proportions.
fn scale(targets: &mut [(String, u16, u32)]) {
    let most = targets.iter().map(|target| target.2).max().unwrap_or(1);
    if most <= 128 {
        return;
    }
    for target in targets {
        target.2 = (target.2 * 128 / most).max(1);
    }
}

/// That there are no records is an answer too.
fn none(error: NetError) -> Result<Found, NetError> {
    match &error {
        NetError::Dns(DnsError::NoRecordsFound(none))
            if matches!(
                none.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            ) =>
        {
            let ttl = none
                .negative_ttl
                .map_or(NONE_FOR, |ttl| Duration::from_secs(ttl.into()));
            Ok((Vec::new(), Instant::now() + ttl))
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_proportions() {
        let of = |weights: &[u32]| {
            let mut targets: Vec<_> = weights.iter().map(|it| (String::new(), 1, *it)).collect();
            scale(&mut targets);
            targets.iter().map(|target| target.2).collect::<Vec<_>>()
        };
        assert_eq!(of(&[1, 2, 128]), [1, 2, 128]);
        assert_eq!(of(&[65_535, 32_768, 1]), [128, 64, 1]);
    }
}
