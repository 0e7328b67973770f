//! The trace that a request belongs to: the W3C's Trace Context, of which `traceparent` and `tracestate` tell.

/// What a `traceparent` says (W3C Trace Context, section 3.2): `00-4bf9…-00f0…-01`.
///
/// ```
/// # use transom_api::trace_context::TraceParent;
/// let value = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let parent = TraceParent::parse(value).unwrap();
/// assert_eq!(parent.parent_id, b"b7ad6b7169203331");
/// assert!(parent.is_sampled());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// The trace: 32 hexadecimal digits in lower case, not all of them zero.
    pub trace_id: &'a [u8],
    /// The caller's span: 16 hexadecimal digits in lower case, not all of them zero.
    pub parent_id: &'a [u8],
    /// Bit 0 is `sampled`: the caller may have recorded its span.
    pub flags: u8,
}

/// The bit of the flags that says that a caller may have recorded its span.
pub const SAMPLED: u8 = 1;

impl<'a> TraceParent<'a> {
    /// Reads a field's value; `None` for one that the specification says is to be ignored. Later versions than 00 are read
    /// as far as this one goes.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (version, rest) = take(value, 2)?;
        let (trace_id, rest) = take(rest, 32)?;
        let (parent_id, rest) = take(rest, 16)?;
        let (flags, behind) = rest.split_at_checked(2)?;
        // Later versions may add fields behind a dash; version ff is none.
        let ends_well = behind.is_empty() || version != b"00" && behind.starts_with(b"-");
        let is_good = [version, trace_id, parent_id, flags]
            .into_iter()
            .all(is_hex)
            && version != b"ff"
            && !is_zero(trace_id)
            && !is_zero(parent_id)
            && ends_well;
        let flags = std::str::from_utf8(flags).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        is_good.then_some(Self {
            trace_id,
            parent_id,
            flags,
        })
    }

    /// Whether the caller may have recorded its span.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// Whether the values of `tracestate`, of one field or of several in their order, are what the specification says (W3C
/// Trace Context, section 3.3): up to 32 pairs of a key and a value, no key twice.
#[must_use]
pub fn is_trace_state<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    const MOST: usize = 32;
    let mut keys: [&[u8]; MOST] = [b""; MOST];
    let mut count = 0;
    for value in values {
        for member in value.split(|byte| *byte == b',') {
            let member = trim(member);
            // Empty members are allowed, and mean nothing.
            if member.is_empty() {
                continue;
            }
            let Some(at) = member.iter().position(|byte| *byte == b'=') else {
                return false;
            };
            let (key, value) = (&member[..at], &member[at + 1..]);
            if !is_key(key) || !is_value(value) || keys[..count].contains(&key) || count == MOST {
                return false;
            }
            keys[count] = key;
            count += 1;
        }
    }
    true
}

/// `vendor`, or `tenant@vendor`: what begins with a lower-case letter or a digit.
fn is_key(key: &[u8]) -> bool {
    let is_part = |part: &[u8], most: usize| {
        (1..=most).contains(&part.len())
            && (part[0].is_ascii_lowercase() || part[0].is_ascii_digit())
            && part.iter().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte)
            })
    };
    match key.iter().position(|byte| *byte == b'@') {
        Some(at) => is_part(&key[..at], 241) && is_part(&key[at + 1..], 14),
        None => is_part(key, 256),
    }
}

/// Printable ASCII without comma and equals sign; spaces at its end are not its own and cut off already.
fn is_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~') && !b",=".contains(byte))
}

fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_space(byte));
    let end = text.iter().rposition(|byte| !is_space(byte));
    match (start, end) {
        (Some(start), Some(end)) => &text[start..=end],
        _ => &[],
    }
}

fn is_hex(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
}

fn is_zero(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b'0')
}

/// The next `count` bytes, and what comes behind the dash that follows them.
fn take(text: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    let (taken, rest) = text.split_at_checked(count)?;
    Some((taken, rest.strip_prefix(b"-")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_context_has_its_parts() {
        let value = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = TraceParent::parse(value).unwrap();
        assert_eq!(parent.trace_id, b"0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.parent_id, b"b7ad6b7169203331");
        assert!(parent.is_sampled());
        let later = b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02-more";
        let parent = TraceParent::parse(later).unwrap();
        assert_eq!(parent.parent_id, b"b7ad6b7169203331");
        assert!(!parent.is_sampled());
    }

    #[test]
    fn what_is_no_context_is_ignored() {
        for value in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0G-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_state_is_a_list_of_pairs() {
        let many = |count: usize| {
            let pairs: Vec<String> = (0..count).map(|at| format!("k{at}=v")).collect();
            pairs.join(",")
        };
        let long = "x".repeat(256);
        for (values, good) in [
            (vec!["a=1"], true),
            (vec![""], true),
            (vec!["a=1, b=2 ,\t,c=3"], true),
            (vec!["a=1", "b=2"], true),
            (vec!["0ab@sys=x y"], true),
            (vec!["a/b*c_d-e=!~"], true),
            (vec![&*format!("a={long}")], true),
            (vec![&*format!("a={long}x")], false),
            (vec![&*many(32)], true),
            (vec![&*many(33)], false),
            (vec!["a=1,a=2"], false),
            (vec!["a=1", "a=2"], false),
            (vec!["a"], false),
            (vec!["=1"], false),
            (vec!["a="], false),
            (vec!["A=1"], false),
            (vec!["a =1"], false),
            (vec!["a=1=2"], false),
            (vec!["a@b@c=1"], false),
            (vec!["@b=1"], false),
            (vec!["a@=1"], false),
            (vec!["a=\u{e4}"], false),
        ] {
            let found = is_trace_state(values.iter().map(|value| value.as_bytes()));
            assert_eq!(found, good, "{values:?}");
        }
    }
}
