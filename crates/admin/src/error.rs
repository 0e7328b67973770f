//! Why the admin interface could not be opened.

use std::io;
use std::net::SocketAddr;

use transom_config::ListenAddress;

/// Why the admin interface could not be opened. Each message names the address, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Other machines could reach the address.
    #[error(
        "the admin interface must not listen on {address}: it has no password, and other machines can reach that \
         address; choose a loopback address, 127.0.0.1:{}, or a Unix socket, unix:/path",
        .address.port()
    )]
    NotLocal {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// A living process listens there.
    #[error(
        "cannot open the admin interface on {address}: another process listens there; stop it, or choose another \
         address in `admin: {{address: …}}`"
    )]
    InUse {
        /// The address that was asked for.
        address: ListenAddress,
    },
    /// At the path of the Unix socket lies something that is none. It is left alone.
    #[error(
        "cannot open the admin interface on {address}: the path is taken by something that is no socket; move it away, \
         or choose another path in `admin: {{address: …}}`"
    )]
    NotASocket {
        /// The address that was asked for.
        address: ListenAddress,
    },
    /// The system refused.
    #[error("cannot open the admin interface on {address}: {cause}; {remedy}")]
    Refused {
        /// The address that was asked for.
        address: ListenAddress,
        /// What the system said.
        cause: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
}

impl AdminError {
    /// The error for what the system said about `address`.
    pub(crate) fn from_system(address: &ListenAddress, cause: io::Error) -> Self {
        let is_path = matches!(address, ListenAddress::Unix(_));
        let remedy = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                return Self::InUse {
                    address: address.clone(),
                };
            }
            io::ErrorKind::NotFound if is_path => "create the socket's folder first",
            io::ErrorKind::PermissionDenied if is_path => {
                "let the user that runs the proxy write to the socket's folder, or choose another path"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege: choose a higher one"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address: choose another, such as 127.0.0.1"
            }
            _ => "choose another address in `admin: {address: …}`",
        };
        Self::Refused {
            address: address.clone(),
            cause,
            remedy,
        }
    }
}
