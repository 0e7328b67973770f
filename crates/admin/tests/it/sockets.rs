//! Opening and closing the socket.

use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};

use transom_config::ListenAddress;

use crate::client::request;
use crate::proxy::{Folder, Pretended, bind};

#[test]
fn an_address_that_others_can_reach_is_refused() {
    for address in ["0.0.0.0:34901", "[::]:34901", "10.1.2.3:34901"] {
        let error = bind(&address.parse().unwrap()).unwrap_err();
        let expected = format!(
            "the admin interface must not listen on {address}: it has no password, and other machines can reach that \
             address; choose a loopback address, 127.0.0.1:34901, or a Unix socket, unix:/path"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_port_of_another_process_is_in_use() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ListenAddress::Tcp(other.local_addr().unwrap());
    assert_eq!(bind(&address).unwrap_err().to_string(), in_use(&address));
}

#[test]
fn the_address_says_which_port_the_system_chose() {
    let admin = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let ListenAddress::Tcp(address) = admin.local_address() else {
        panic!("{:?}", admin.local_address());
    };
    assert!(address.ip().is_loopback() && address.port() != 0);
}

#[tokio::test]
async fn only_the_owner_can_use_a_unix_socket_and_it_goes_at_the_end() {
    let folder = Folder::new();
    let (path, address) = folder.socket();
    let admin = Pretended::default().serve_on(&address);
    assert_eq!(admin.address, address);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    admin.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced() {
    let folder = Folder::new();
    let (path, address) = folder.socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the dead process left it");
    let admin = Pretended::default().serve_on(&address);
    assert_eq!(request(&address, "GET", "/ready").await.status, 200);
    admin.stop().await;
}

#[tokio::test]
async fn the_socket_of_a_living_process_is_left_alone() {
    let folder = Folder::new();
    let (_, address) = folder.socket();
    let admin = Pretended::default().serve_on(&address);
    assert_eq!(bind(&address).unwrap_err().to_string(), in_use(&address));
    assert_eq!(request(&address, "GET", "/ready").await.status, 200);
    admin.stop().await;
}

#[test]
fn a_living_process_that_is_too_busy_to_accept_is_still_alive() {
    let folder = Folder::new();
    let (path, address) = folder.socket();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    socket.listen(0).unwrap();
    // Fills its queue, so that the next would have to wait.
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(bind(&address).unwrap_err().to_string(), in_use(&address));
    assert!(path.exists());
}

#[test]
fn a_socket_of_another_type_is_left_alone() {
    let folder = Folder::new();
    let (path, address) = folder.socket();
    let _other = UnixDatagram::bind(&path).unwrap();
    assert_eq!(bind(&address).unwrap_err().to_string(), in_use(&address));
    assert!(path.exists());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let (path, address) = folder.socket();
    let expected = format!(
        "cannot open the admin interface on {address}: the path is taken by something that is no socket; move it away, \
         or choose another path in `admin: {{address: …}}`"
    );
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(bind(&address).unwrap_err().to_string(), expected);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");

    // Nor what a link points at, even if that is a dead socket.
    std::fs::remove_file(&path).unwrap();
    let target = folder.path().join("dead.sock");
    drop(UnixListener::bind(&target).unwrap());
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert_eq!(bind(&address).unwrap_err().to_string(), expected);
    assert!(target.exists() && path.is_symlink());
}

#[test]
fn a_missing_folder_is_named_with_what_to_do() {
    let folder = Folder::new();
    let address = ListenAddress::Unix(folder.path().join("missing/admin.sock"));
    let error = bind(&address).unwrap_err().to_string();
    let begin = format!("cannot open the admin interface on {address}: ");
    assert!(error.starts_with(&begin), "{error}");
    assert!(
        error.ends_with("; create the socket's folder first"),
        "{error}"
    );
}

#[test]
fn the_file_of_a_successor_stays() {
    let folder = Folder::new();
    let (path, address) = folder.socket();
    let old = bind(&address).unwrap();
    std::fs::rename(&path, folder.path().join("kept")).unwrap();
    let _new = UnixListener::bind(&path).unwrap();
    drop(old);
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
}

fn in_use(address: &ListenAddress) -> String {
    format!(
        "cannot open the admin interface on {address}: another process listens there; stop it, or choose another \
         address in `admin: {{address: …}}`"
    )
}
