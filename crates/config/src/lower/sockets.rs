//! What a listener says of its sockets.

use transom_api::Span;

use super::Lowering;
use crate::decode::Tried;
use crate::file;
use crate::report::Problem;
use crate::{AcceptRate, Balance, ListenAddress, Located, UnixSocket};

/// What a listener says of its sockets.
pub(super) struct SocketOptions {
    pub(super) accept_rate: Option<AcceptRate>,
    pub(super) balance: Balance,
    pub(super) unix_socket: UnixSocket,
    pub(super) transparent: bool,
}

impl Lowering<'_> {
    pub(super) fn socket_options(
        &mut self,
        address: &Located<ListenAddress>,
        accept_rate: Option<Tried<Located<file::AcceptRate>>>,
        balance: Option<Located<file::Balance>>,
        unix_socket: Option<Tried<Located<file::UnixSocket>>>,
        transparent: &Located<bool>,
    ) -> SocketOptions {
        let accept_rate = accept_rate.and_then(|rate| rate.0);
        let unix_socket = unix_socket.and_then(|socket| socket.0);
        let is_unix = matches!(address.value, ListenAddress::Unix(_));
        let is_udp = matches!(address.value, ListenAddress::Udp(_));
        // One that could not be read is a mistake of its own.
        let is_known =
            !matches!(&address.value, ListenAddress::Unix(path) if path.as_os_str().is_empty());
        if is_known {
            let udp = [
                ("accept_rate", accept_rate.as_ref().map(|it| it.span)),
                ("balance", balance.as_ref().map(|it| it.span)),
            ];
            for (key, place) in udp {
                if let Some(place) = place.filter(|_| is_udp) {
                    self.without_meaning(key, place, "datagrams", None);
                }
            }
            if let Some(socket) = unix_socket.as_ref().filter(|_| !is_unix) {
                self.without_meaning(
                    "unix_socket",
                    socket.span,
                    &format!("the address {address}"),
                    Some("write an address such as unix:/run/transom/in.sock, or leave it out"),
                );
            }
            if transparent.value && (is_unix || is_udp) {
                self.without_meaning(
                    "transparent",
                    transparent.span,
                    &format!("the address {address}"),
                    Some("it is for connections of TCP: write an IP address and a port"),
                );
            }
            if let Some(balance) = balance.as_ref().filter(|_| is_unix)
                && matches!(balance.value, file::Balance::Kernel)
            {
                self.problems.push(
                    Problem::new("the kernel cannot deal out connections of a Unix socket", balance.span)
                        .with_help("leave `balance` out: each goes to the worker that has the fewest connections"),
                );
            }
        }
        SocketOptions {
            accept_rate: accept_rate.map(|Located { value: rate, .. }| AcceptRate {
                per_second: rate.per_second.0,
                burst: rate.burst.map_or(rate.per_second.0, |burst| burst.0),
            }),
            balance: match balance.map(|balance| balance.value) {
                _ if is_unix => Balance::Exact,
                Some(file::Balance::Exact) => Balance::Exact,
                Some(file::Balance::Kernel) | None => Balance::Kernel,
            },
            unix_socket: unix_socket.map_or_else(
                UnixSocket::default,
                |Located { value, .. }| {
                    let owner = |owner: Located<file::Owner>| Located {
                        value: owner.value.0,
                        span: owner.span,
                    };
                    UnixSocket {
                        mode: value.mode.0,
                        user: value.user.map(owner),
                        group: value.group.map(owner),
                    }
                },
            ),
            transparent: transparent.value,
        }
    }

    fn without_meaning(&mut self, key: &str, place: Option<Span>, what: &str, help: Option<&str>) {
        let mut problem = Problem::new(format!("`{key}` has no meaning for {what}"), place);
        if let Some(help) = help {
            problem = problem.with_help(help);
        }
        self.problems.push(problem);
    }
}
