//! What an `http` filter believes and tells as one hop of many.

use transom_api::Span;
use transom_api::field;

use super::Lowering;
use crate::file;
use crate::report::Problem;
use crate::{Forwarded, ForwardedMode, HopOptions, Located, RequestId, Server, Trace, Trust};

/// What the file says of it.
pub(super) struct WrittenHop {
    pub(super) forwarded: file::Forwarded,
    pub(super) request_id: Option<file::RequestId>,
    pub(super) trace: Option<file::Trace>,
    pub(super) via: Option<Located<String>>,
    pub(super) server: Option<file::Server>,
}

impl Lowering<'_> {
    pub(super) fn hop(&mut self, written: WrittenHop) -> HopOptions {
        let forwarded = written.forwarded;
        let mode = match forwarded.mode {
            file::ForwardedMode::Sanitise => ForwardedMode::Sanitise,
            file::ForwardedMode::Keep => ForwardedMode::Keep,
            file::ForwardedMode::Append => ForwardedMode::Append,
            file::ForwardedMode::Set => ForwardedMode::Set,
        };
        let tells = matches!(mode, ForwardedMode::Append | ForwardedMode::Set);
        for (key, flag) in [("host", &forwarded.host), ("port", &forwarded.port)] {
            if flag.value && !tells {
                let message = format!("`{key}` is for `mode: append` and `mode: set`");
                let help = format!("`mode: {}` tells nothing of its own", mode.name());
                self.problems
                    .push(Problem::new(message, flag.span).with_help(help));
            }
        }
        HopOptions {
            trust: self.trust(&forwarded.trusted_hops, forwarded.trusted_networks),
            forwarded: Forwarded {
                mode,
                host: forwarded.host.value,
                port: forwarded.port.value,
            },
            request_id: written.request_id.map(|id| RequestId {
                generate: id.generate,
                preserve: id.preserve,
                in_response: id.in_response,
            }),
            trace: written.trace.map(|trace| Trace {
                generate: trace.generate,
                sample: trace.sample.0,
                span: trace.span,
                trusted_only: trace.trusted_only,
            }),
            via: written.via.map(|name| self.via(name)),
            server: written.server.map(|server| self.server(server)),
        }
    }

    fn trust(
        &mut self,
        hops: &Located<file::Ranged<0, 100>>,
        networks: Located<file::Items<crate::IpNetwork>>,
    ) -> Trust {
        let (count, place) = (hops.value.0, networks.span);
        let networks = networks.value.items;
        match (count, networks.is_empty()) {
            (0, true) => Trust::Nobody,
            (0, false) => Trust::Networks(networks),
            (hops, true) => Trust::Hops(hops),
            (_, false) => {
                let message = "`trusted_hops` and `trusted_networks` exclude each other";
                let help = "leave out `trusted_hops`: proxies are found by their addresses, however many they are";
                self.problems
                    .push(Problem::new(message, place).with_help(help));
                Trust::Nobody
            }
        }
    }

    /// RFC 9110 section 7.6.3: a host with or without a port, or any token as a pseudonym.
    fn via(&mut self, name: Located<String>) -> String {
        let plain: Vec<u8> = (name.bytes())
            .filter(|byte| !b":[]".contains(byte))
            .collect();
        if !field::is_name(&plain) {
            self.problems.push(
                Problem::new(format!("{:?} is no name for `via`", name.value), name.span)
                    .with_help(
                        "write a host, a host and port, or a pseudonym without spaces: `edge-1`",
                    ),
            );
        }
        name.value
    }

    fn server(&mut self, server: file::Server) -> Server {
        let name = server.name.0.unwrap_or_default();
        self.check_server(&name.value, name.span);
        Server {
            name: name.value,
            overwrite: server.overwrite,
        }
    }

    fn check_server(&mut self, name: &str, place: Option<Span>) {
        let map = transom_api::HeaderMap::ResponseHeaders;
        if field::check(map, b"server", name.as_bytes()).is_err() {
            self.problems.push(
                Problem::new(
                    format!("{name:?} cannot be the value of a header field"),
                    place,
                )
                .with_help("leave out control characters, and spaces at both ends"),
            );
        }
    }
}
