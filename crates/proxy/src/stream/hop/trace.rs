//! The trace context: passed on if it is good, dropped if not, made where there is none.
//!
//! Rules are those of W3C Trace Context, section 4 ("Mutating the traceparent field") and section 3.

use transom_api::trace_context::{SAMPLED, TraceParent, is_trace_state};
use transom_config::Trace;

use super::request_id::hex;
use crate::http::head::Head;
use crate::worker::entropy::Entropy;

const PARENT: &[u8] = b"traceparent";
const STATE: &[u8] = b"tracestate";
/// The flags that are known: `sampled`, and `random` of the specification's second level.
const KNOWN_FLAGS: u8 = 3;

/// Brings the context of a request into order. Gives the id of the caller's span, if this proxy is a span below it; else 0.
pub(super) fn apply(
    options: &Trace,
    trusted: bool,
    sampled: impl FnOnce() -> bool,
    head: &mut Head,
    entropy: &Entropy,
) -> u64 {
    let believed = trusted || !options.trusted_only;
    // A second one makes both doubtful.
    let only = head.get(PARENT, 1).is_none();
    let came = head.get(PARENT, 0).filter(|_| believed && only);
    let Some(parent) = came.and_then(TraceParent::parse) else {
        // A state without its trace says nothing.
        if head.get(PARENT, 0).is_some() || head.get(STATE, 0).is_some() {
            head.retain_fields(|name| {
                !name.eq_ignore_ascii_case(PARENT) && !name.eq_ignore_ascii_case(STATE)
            });
        }
        if options.generate
            && let Some(trace) = entropy.take::<16>()
            && let Some(span) = entropy.take::<8>()
        {
            let flags = if sampled() { SAMPLED } else { 0 };
            head.push_own(
                PARENT,
                &written(&digits(nonzero(trace)), &digits(nonzero(span)), flags),
            );
        }
        return 0;
    };
    let mut caller = 0;
    if options.span
        && let Some(span) = entropy.take::<8>()
    {
        caller = number(parent.parent_id);
        let own = written(
            parent.trace_id,
            &digits(nonzero(span)),
            parent.flags & KNOWN_FLAGS,
        );
        head.put_own(PARENT, &own);
    }
    if head.get(STATE, 0).is_some() && !is_trace_state(head.values(STATE)) {
        head.retain_fields(|name| !name.eq_ignore_ascii_case(STATE));
    }
    caller
}

/// Ids of zeros mean none.
fn nonzero<const COUNT: usize>(mut id: [u8; COUNT]) -> [u8; COUNT] {
    if id == [0; COUNT]
        && let Some(last) = id.last_mut()
    {
        *last = 1;
    }
    id
}

fn digits<const COUNT: usize>(id: [u8; COUNT]) -> Vec<u8> {
    let digits = id.into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(hex).collect()
}

fn written(trace: &[u8], span: &[u8], flags: u8) -> Vec<u8> {
    let flags = [hex(flags >> 4), hex(flags & 15)];
    [b"00", trace, span, &flags].join(&b'-')
}

/// The id as a number; it has been read as one.
fn number(id: &[u8]) -> u64 {
    let id = std::str::from_utf8(id).unwrap_or_default();
    u64::from_str_radix(id, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Presence;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn options() -> Trace {
        Trace {
            generate: false,
            sample: 100.0,
            span: false,
            trusted_only: false,
        }
    }

    /// The fields afterwards and the caller's span.
    fn after(
        options: &Trace,
        trusted: bool,
        sampled: bool,
        fields: &[(&str, &str)],
    ) -> (Vec<String>, u64) {
        let mut head = Head::default();
        head.set_presence(Presence::Here);
        for (name, value) in fields {
            head.push_own(name.as_bytes(), value.as_bytes());
        }
        let entropy = Entropy::default();
        let caller = apply(options, trusted, || sampled, &mut head, &entropy);
        let fields = head.wire_fields().map(|(name, value)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}={}", text(name), text(value))
        });
        (fields.collect(), caller)
    }

    #[test]
    fn what_is_good_goes_on_and_what_is_not_is_dropped() {
        let later = GOOD.replacen("00", "cc", 1) + "-more";
        for (fields, expected) in [
            (
                vec![("traceparent", GOOD), ("tracestate", "a=1")],
                vec!["traceparent", "tracestate"],
            ),
            (vec![("traceparent", &*later)], vec!["traceparent"]),
            (
                vec![("traceparent", GOOD), ("tracestate", "a")],
                vec!["traceparent"],
            ),
            (
                vec![
                    ("traceparent", GOOD),
                    ("tracestate", "a=1"),
                    ("tracestate", "a=2"),
                ],
                vec!["traceparent"],
            ),
            (
                vec![("traceparent", "00"), ("tracestate", "a=1"), ("b", "1")],
                vec!["b"],
            ),
            (vec![("traceparent", GOOD), ("traceparent", GOOD)], vec![]),
            (vec![("tracestate", "a=1")], vec![]),
            (vec![("a", "1")], vec!["a"]),
        ] {
            let (left, caller) = after(&options(), false, true, &fields);
            let names: Vec<&str> = left
                .iter()
                .map(|field| field.split('=').next().unwrap())
                .collect();
            assert_eq!(names, expected, "{fields:?}");
            assert_eq!(caller, 0);
        }
    }

    #[test]
    fn a_trace_is_begun_where_there_is_none() {
        let on = Trace {
            generate: true,
            ..options()
        };
        for (sampled, flags) in [(true, "-01"), (false, "-00")] {
            for fields in [vec![], vec![("traceparent", "bad"), ("tracestate", "a=1")]] {
                let (left, caller) = after(&on, false, sampled, &fields);
                let [field] = left.as_slice() else {
                    panic!("{left:?}");
                };
                let value = field.strip_prefix("traceparent=").unwrap();
                assert!(TraceParent::parse(value.as_bytes()).is_some(), "{value}");
                assert!(value.ends_with(flags), "{value}");
                assert_eq!(caller, 0);
            }
        }
        let (left, _) = after(&on, false, true, &[("traceparent", GOOD)]);
        assert_eq!(left, [format!("traceparent={GOOD}")]);
    }

    #[test]
    fn a_span_of_its_own_stands_between_the_caller_and_the_host() {
        let on = Trace {
            span: true,
            ..options()
        };
        let flags = GOOD.replacen("-01", "-ff", 1);
        for (came, expected) in [(GOOD, "-01"), (&*flags, "-03")] {
            let (left, caller) = after(
                &on,
                false,
                true,
                &[("TraceParent", came), ("tracestate", "a=1")],
            );
            assert_eq!(caller, 0xb7ad_6b71_6920_3331);
            let value = left[0].strip_prefix("TraceParent=").unwrap().as_bytes();
            let parent = TraceParent::parse(value).unwrap();
            assert_eq!(parent.trace_id, b"0af7651916cd43dd8448eb211c80319c");
            assert_ne!(parent.parent_id, b"b7ad6b7169203331");
            assert!(left[0].ends_with(expected), "{}", left[0]);
            assert_eq!(left[1], "tracestate=a=1");
        }
    }

    #[test]
    fn strangers_choose_no_trace_where_only_the_trusted_may() {
        let on = Trace {
            trusted_only: true,
            ..options()
        };
        let fields = [("traceparent", GOOD), ("tracestate", "a=1")];
        assert_eq!(after(&on, false, true, &fields).0, Vec::<String>::new());
        assert_eq!(after(&on, true, true, &fields).0.len(), 2);
    }
}
