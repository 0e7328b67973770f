use super::*;

/// A hello with these extensions, as one handshake message.
pub(crate) fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 0x01]);
    body.extend([1, 0]);
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, data)| [kind.to_be_bytes().to_vec(), vector(data)].concat())
        .collect();
    body.extend(vector(&extensions));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO, length[1], length[2], length[3]][..], &body].concat()
}

/// The message in records of at most `size` bytes.
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[HANDSHAKE, 3, 1][..], &vector(piece)].concat();
    message.chunks(size).flat_map(record).collect()
}

pub(crate) fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    (SERVER_NAME, vector(&[&[0][..], &vector(name)].concat()))
}

pub(crate) fn alpn(names: &[&[u8]]) -> (u16, Vec<u8>) {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|name| [&[u8::try_from(name.len()).unwrap()][..], name].concat())
        .collect();
    (ALPN, vector(&list))
}

fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

fn hello() -> Vec<u8> {
    message(&[
        (0x0a0a, Vec::new()),
        sni(b"WWW.Example.org"),
        alpn(&[b"\xba\xba", b"h2", b"http/1.1"]),
        (21, vec![0; 700]),
    ])
}

fn found() -> FirstBytes {
    FirstBytes::Hello(ClientHello {
        server_name: Some("www.example.org".to_owned()),
        application_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
    })
}

#[test]
fn name_and_protocols_are_found() {
    assert_eq!(FirstBytes::read(&records(&hello(), 1 << 14)), found());
}

#[test]
fn a_hello_in_small_records_is_put_together() {
    for size in [1, 2, 3, 4, 5, 100, 500] {
        assert_eq!(
            FirstBytes::read(&records(&hello(), size)),
            found(),
            "{size}"
        );
    }
}

/// Each prefix wants more, never more than there is, and at least one byte that it has not.
#[test]
fn any_cut_of_the_bytes_waits_for_the_rest() {
    for size in [1, 7, 64, 1 << 14] {
        let whole = records(&hello(), size);
        for length in 0..whole.len() {
            match FirstBytes::read(&whole[..length]) {
                FirstBytes::Partial(wanted) => {
                    assert!(
                        wanted > length && wanted <= whole.len(),
                        "{length} of {size}"
                    );
                }
                other => panic!("{length} of {size}: {other:?}"),
            }
        }
        // What comes behind the hello does not matter.
        assert_eq!(
            FirstBytes::read(&[&whole[..], b"\x17\x03\x03"].concat()),
            found()
        );
    }
}

#[test]
fn what_is_no_hello_is_known_early() {
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"\x15",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x05\x02",
        b"SSH-2.0-OpenSSH",
        b"\x80\x2e\x01\x03\x01",
    ] {
        assert_eq!(FirstBytes::read(bytes), FirstBytes::Other, "{bytes:?}");
    }
    // The second record is of another kind.
    let split = records(&hello(), 100);
    let mut other = split.clone();
    other[105] = 23;
    assert_eq!(FirstBytes::read(&other), FirstBytes::Other);
}

#[test]
fn a_hello_without_extensions_is_one() {
    let mut bare = message(&[]);
    bare.truncate(bare.len() - 2);
    bare[3] -= 2;
    assert_eq!(
        FirstBytes::read(&records(&bare, 1 << 14)),
        FirstBytes::Hello(ClientHello::default())
    );
}

#[test]
fn what_cannot_be_a_name_counts_as_none() {
    for name in [
        &b"a b"[..],
        b"",
        b"caf\xc3\xa9.org",
        b"a\0.org",
        &[b'a'; 254],
    ] {
        let whole = records(&message(&[sni(name)]), 1 << 14);
        assert_eq!(
            FirstBytes::read(&whole),
            FirstBytes::Hello(ClientHello::default()),
            "{name:?}"
        );
    }
}

#[test]
fn malformed_hellos_are_none() {
    for extensions in [
        vec![sni(b"a.org"), sni(b"b.org")],
        vec![alpn(&[b"h2"]), alpn(&[b"h2"])],
        vec![(SERVER_NAME, vec![])],
        vec![(SERVER_NAME, vec![0, 0])],
        vec![(SERVER_NAME, vec![0, 9, 0])],
        vec![(ALPN, vec![0, 1, 0])],
        vec![(ALPN, vec![0, 3, 2, b'h', b'2', 0])],
    ] {
        let whole = records(&message(&extensions), 1 << 14);
        assert_eq!(
            FirstBytes::read(&whole),
            FirstBytes::Other,
            "{extensions:?}"
        );
    }
}

/// No bytes panic, and the first bytes of what is a hello in the end are never refused.
#[test]
fn changed_bytes_do_no_harm() {
    let whole = records(&hello(), 300);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // xorshift64: the same bytes each time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let mut changed = whole.clone();
        for _ in 0..=(next() % 4) {
            let at = usize::try_from(next()).unwrap() % changed.len();
            changed[at] = u8::try_from(next() & 0xff).unwrap();
        }
        changed.truncate(usize::try_from(next()).unwrap() % (changed.len() + 1));
        let read = FirstBytes::read(&changed);
        if matches!(read, FirstBytes::Hello(_)) {
            for length in 0..changed.len() {
                assert_ne!(FirstBytes::read(&changed[..length]), FirstBytes::Other);
            }
        }
    }
}
