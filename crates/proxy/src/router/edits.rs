//! What a route does with headers.

use transom_api::{HeaderError, HeaderMap, LocalReply};
use transom_config::HeaderEdits;

use crate::http::head::Head;

/// Makes the changes: first what goes, then what takes a place, then what is added.
#[inline]
pub(crate) fn apply(
    edits: &HeaderEdits,
    map: HeaderMap,
    head: &mut Head,
) -> Result<(), HeaderError> {
    // Four places may have some for each request, and most have none.
    if edits.remove.is_empty() && edits.set.is_empty() && edits.add.is_empty() {
        return Ok(());
    }
    apply_all(edits, map, head)
}

fn apply_all(edits: &HeaderEdits, map: HeaderMap, head: &mut Head) -> Result<(), HeaderError> {
    for name in &edits.remove {
        head.remove(name.as_bytes())?;
    }
    for (name, value) in &edits.set {
        head.set(map, name.as_bytes(), value.as_bytes())?;
    }
    for (name, value) in &edits.add {
        head.add(map, name.as_bytes(), value.as_bytes())?;
    }
    Ok(())
}

/// The same for an answer that is not a head yet.
pub(crate) fn apply_to_reply(edits: &HeaderEdits, reply: &mut LocalReply) {
    let mut drop_all = |name: &str| {
        let headers = &mut reply.headers;
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    };
    for name in &edits.remove {
        drop_all(name);
    }
    for (name, _) in &edits.set {
        drop_all(name);
    }
    for (name, value) in edits.set.iter().chain(&edits.add) {
        let header = (name.clone().into(), value.as_bytes().to_vec());
        reply.headers.push(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Presence;

    #[test]
    fn heads_and_replies_are_changed_alike() {
        let pairs = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let edits = HeaderEdits {
            remove: vec!["X-Gone".to_owned()],
            set: pairs(&[("x-set", "new"), ("x-other", "set")]),
            add: pairs(&[("x-gone", "again"), ("x-set", "more")]),
        };
        let before = [
            ("x-gone", "1"),
            ("x-stays", "2"),
            ("X-Other", "3"),
            ("x-other", "4"),
        ];
        let mut head = Head::default();
        head.set_presence(Presence::Here);
        let mut reply = LocalReply::new(200);
        for (name, value) in before {
            head.push_own(name.as_bytes(), value.as_bytes());
            reply = reply.header(name, value);
        }
        apply(&edits, HeaderMap::ResponseHeaders, &mut head).unwrap();
        apply_to_reply(&edits, &mut reply);
        let of_reply = reply
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), &**value));
        for fields in [
            head.wire_fields().collect::<Vec<_>>(),
            of_reply.collect::<Vec<_>>(),
        ] {
            let mut shown: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                    format!("{name}={}", String::from_utf8_lossy(value))
                })
                .collect();
            shown.sort();
            assert_eq!(
                shown,
                [
                    "x-gone=again",
                    "x-other=set",
                    "x-set=more",
                    "x-set=new",
                    "x-stays=2"
                ]
            );
        }
    }
}
