pub(super) const SCRIPT: &str = "echo good script; sleep 3600\n";

pub(super) const KEY: &str = "RWS+IZuhE11jUU1qGznBdbikI9zYbNo7Z7hCRmBzjepuLNplVQR6DzUU";

pub(super) const OTHER_KEY: &str = "RWQoWMF9IdtlYVqd9sjLZzxoNxLIi/l0XcIb+xCdTZrWNXRps7AjehAB";

pub(super) const SIGNATURE: &str = "\
untrusted comment: signature from minisign secret key\n\
RUS+IZuhE11jUZZyKK5Yh6rDypFV7bqn5RM83hMfB6KLPe82JVxcreqOPAcoumQB/wf+/jJxVppnBxpoFoMqqwmQR28X9MaFewQ=\n\
trusted comment: a test\n\
dtqx3+B/rKfKObRbTydu3rnKjsR/nCu1OYqLL4howAUGEufTGlpOYGQAx7SWnLVsTXl+jd/suFzQD0YH2Xz6Ag==
";
