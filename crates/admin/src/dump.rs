//! The active configuration as JSON.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use transom_api::{Node, NodeKind};

use crate::secrets;

/// The tree as indented JSON, with secrets hidden. Maps keep their order; numbers that JSON has not are `null`.
pub(crate) fn render(mut tree: Node) -> Vec<u8> {
    secrets::hide(&mut tree);
    let mut json = serde_json::to_vec_pretty(&Json(&tree)).unwrap_or_else(|fault| {
        // Only a key that is no text or a writer that fails could bring us here, and there is neither.
        format!("{{\"error\": {:?}}}", fault.to_string()).into_bytes()
    });
    json.push(b'\n');
    json
}

struct Json<'n>(&'n Node);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            NodeKind::Null => serializer.serialize_unit(),
            NodeKind::Bool(value) => serializer.serialize_bool(*value),
            NodeKind::Integer(value) => serializer.serialize_i128(*value),
            NodeKind::Float(value) => serializer.serialize_f64(*value),
            NodeKind::String(text) => serializer.serialize_str(text),
            NodeKind::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Json(item))?;
                }
                list.end()
            }
            NodeKind::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key.name, &Json(value))?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_keeps_its_meaning_and_its_order() {
        let tree = Node::map([
            ("z", Node::null()),
            ("b", true.into()),
            ("i", Node::new(NodeKind::Integer(i128::from(u64::MAX)))),
            ("f", 0.5.into()),
            ("nan", f64::NAN.into()),
            ("s", "a\"\u{7}\u{e4}".into()),
            ("l", Node::list([1.into(), Node::map([])])),
        ]);
        let json = String::from_utf8(render(tree)).unwrap();
        let flat: String = json.lines().map(str::trim_start).collect();
        assert_eq!(
            flat,
            "{\"z\": null,\"b\": true,\"i\": 18446744073709551615,\"f\": 0.5,\"nan\": null,\
             \"s\": \"a\\\"\\u0007\u{e4}\",\"l\": [1,{}]}"
        );
        assert!(json.ends_with("}\n"));
    }
}
