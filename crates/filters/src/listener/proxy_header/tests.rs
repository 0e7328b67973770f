use super::*;

fn v1(line: &str) -> Read {
    read(line.as_bytes())
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

const TCP4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x10, 0x00, 0x01, 0xbb];

fn addresses() -> Option<(SocketAddr, SocketAddr)> {
    Some((
        "192.0.2.1:4096".parse().unwrap(),
        "198.51.100.2:443".parse().unwrap(),
    ))
}

#[test]
fn lines_of_version_1_are_read() {
    let header = |line: &str, addresses| {
        Read::Header(Header {
            version: 1,
            length: line.len(),
            addresses,
            values: Vec::new(),
        })
    };
    let line = "PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n";
    assert_eq!(v1(line), header(line, addresses()));
    assert_eq!(v1(&format!("{line}GET /")), header(line, addresses()));
    let six = "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n";
    let both = (
        "[2001:db8::1]:0".parse().unwrap(),
        "[::1]:65535".parse().unwrap(),
    );
    assert_eq!(v1(six), header(six, Some(both)));
    for unknown in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
    ] {
        assert_eq!(v1(unknown), header(unknown, None));
    }
}

#[test]
fn what_version_1_does_not_define_is_malformed() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4096 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4096\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 4096 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 04096 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +4096 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4096 65536\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 4096 443\r\n",
        "PROXY TCP4 ::1 ::1 4096 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 4096 443\r\n",
        "PROXY TCP6 ::1%1 ::1 4096 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 4096 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 4096 443\r\n",
        "PROXY \r\n",
        "PROXY TCP4 \u{e9}\r\n",
    ] {
        assert!(
            matches!(v1(line), Read::Malformed(_)),
            "{line:?}: {:?}",
            v1(line)
        );
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_V1));
    assert_eq!(v1(&long), Read::Malformed("the line is too long"));
}

#[test]
fn headers_of_version_2_are_read() {
    let header = |bytes: &[u8], addresses, values: &[(u8, &[u8])]| {
        Read::Header(Header {
            version: 2,
            length: bytes.len(),
            addresses,
            values: values
                .iter()
                .map(|(kind, value)| (*kind, value.to_vec()))
                .collect(),
        })
    };
    let four = v2(0x21, 0x11, &TCP4);
    assert_eq!(read(&four), header(&four, addresses(), &[]));
    let mut six = [0; 36];
    (six[15], six[31], six[33], six[35]) = (1, 2, 80, 81);
    let bytes = v2(0x21, 0x21, &six);
    let both = ("[::1]:80".parse().unwrap(), "[::2]:81".parse().unwrap());
    assert_eq!(read(&bytes), header(&bytes, Some(both), &[]));
    // The sender itself, one without addresses, a Unix socket.
    for (command, family, body) in [
        (0x20, 0x00, vec![]),
        (0x20, 0x11, vec![1, 2, 3]),
        (0x20, 0x55, vec![1, 2, 3]),
        (0x21, 0x00, vec![]),
        (0x21, 0x31, vec![0; 216]),
    ] {
        let bytes = v2(command, family, &body);
        assert_eq!(
            read(&bytes),
            header(&bytes, None, &[]),
            "{command} {family}"
        );
    }
    let values = [&TCP4[..], b"\x01\0\x02h2\x04\0\x01\0\xea\0\x03abc"].concat();
    let bytes = v2(0x21, 0x11, &values);
    assert_eq!(
        read(&[&bytes[..], b"more"].concat()),
        header(&bytes, addresses(), &[(1, b"h2"), (0xea, b"abc")])
    );
}

#[test]
fn what_version_2_does_not_define_is_malformed() {
    for bytes in [
        v2(0x11, 0x11, &TCP4),
        v2(0x22, 0x11, &TCP4),
        v2(0x21, 0x12, &TCP4),
        v2(0x21, 0x41, &[0; 216]),
        v2(0x21, 0x11, &TCP4[..11]),
        v2(0x21, 0x21, &TCP4),
        v2(0x21, 0x11, &[&TCP4[..], b"\x01"].concat()),
        v2(0x21, 0x11, &[&TCP4[..], b"\x01\0\x05h2"].concat()),
        v2(0x21, 0x11, &[&TCP4[..], b"\x03\0\x04\0\0\0\0"].concat()),
        v2(0x21, 0x11, &[&TCP4[..], b"\x03\0\x02\0\0"].concat()),
    ] {
        assert!(matches!(read(&bytes), Read::Malformed(_)), "{bytes:?}");
    }
}

#[test]
fn a_checksum_is_checked() {
    // RFC 9260's check value of CRC-32C.
    assert_eq!(checksum(b"123456789", 100), 0xe306_9283);
    let mut bytes = v2(0x21, 0x11, &[&TCP4[..], b"\x03\0\x04\0\0\0\0"].concat());
    let at = bytes.len() - 4;
    let crc = checksum(&bytes, at).to_be_bytes();
    bytes[at..].copy_from_slice(&crc);
    assert!(matches!(read(&bytes), Read::Header(_)));
    bytes[20] ^= 1;
    assert_eq!(read(&bytes), Read::Malformed("the checksum is wrong"));
}

#[test]
fn any_cut_waits_for_the_rest() {
    let values = [&TCP4[..], b"\x01\0\x02h2"].concat();
    for whole in [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n".to_vec(),
        v2(0x21, 0x11, &values),
        v2(0x20, 0, &[]),
    ] {
        for length in 0..whole.len() {
            match read(&whole[..length]) {
                Read::Partial(wanted) => assert!(wanted > length && wanted <= whole.len().max(16)),
                other => panic!("{length}: {other:?}"),
            }
        }
    }
    for none in [&b"GET /"[..], b"PROXX", b"\r\n\r\n\x01", b"\x16\x03\x01"] {
        assert_eq!(read(none), Read::None);
    }
}
