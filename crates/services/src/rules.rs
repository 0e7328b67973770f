//! Which header fields a server may change. The keys are those of Envoy's `HeaderMutationRules`, and so is what holds without them.

use regex::bytes::Regex;
use transom_api::{Node, ParseError, Schema, Shape};

use crate::names::parse_regex;

/// The rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    allow_all_routing: bool,
    allow_envoy: bool,
    disallow_system: bool,
    disallow_all: bool,
    allow: Option<Regex>,
    disallow: Option<Regex>,
    /// A change that is not allowed is a failure of the server; else it is left out.
    pub(crate) disallow_is_error: bool,
}

/// What is done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    Append,
    Remove,
}

impl Rules {
    /// Whatever is possible is allowed.
    pub(crate) fn everything() -> Self {
        Self {
            allow_all_routing: true,
            allow_envoy: true,
            ..Self::default()
        }
    }

    pub(crate) fn schema() -> Schema {
        let flag = |what: &str| Schema::new(Shape::Bool).describe(what).or(false);
        Schema::object()
            .optional(
                "allow_all_routing",
                flag("Fields by which requests are routed may be set: host, :authority, :scheme, :method."),
            )
            .optional("allow_envoy", flag("Fields that begin with x-envoy may be changed."))
            .optional(
                "disallow_system",
                flag("No field that begins with a colon may be changed, not even :path and :status."),
            )
            .optional("disallow_all", flag("Nothing may be changed but what allow_expression allows."))
            .optional(
                "allow_expression",
                Schema::string().describe("A regular expression for whole names that may be changed, whatever the flags say."),
            )
            .optional(
                "disallow_expression",
                Schema::string().describe("A regular expression for whole names that may not be changed. It goes before the others."),
            )
            .optional(
                "disallow_is_error",
                flag("A change that is not allowed is a failure of the server; else it is left out."),
            )
            .describe("Which header fields the server may change.")
    }

    pub(crate) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let mut flag = |name| fields.optional(name).map_or(Ok(false), Node::as_bool);
        let mut rules = Self {
            allow_all_routing: flag("allow_all_routing")?,
            allow_envoy: flag("allow_envoy")?,
            disallow_system: flag("disallow_system")?,
            disallow_all: flag("disallow_all")?,
            disallow_is_error: flag("disallow_is_error")?,
            ..Self::default()
        };
        rules.allow = fields
            .optional("allow_expression")
            .map(parse_regex)
            .transpose()?;
        rules.disallow = fields
            .optional("disallow_expression")
            .map(parse_regex)
            .transpose()?;
        fields.finish()?;
        Ok(rules)
    }

    /// Whether a field, whose name is in lower case, may be changed so.
    pub(crate) fn allow(&self, operation: Operation, name: &str) -> bool {
        let is_system = name.starts_with(':');
        let is_host = name == "host";
        // These are once in each message: nothing is added to them, and they do not go.
        if operation != Operation::Set && (is_system || is_host) {
            return false;
        }
        if matches(self.disallow.as_ref(), name) {
            return false;
        }
        if matches(self.allow.as_ref(), name) {
            return true;
        }
        if self.disallow_all || self.disallow_system && is_system {
            return false;
        }
        let routes = is_host || matches!(name, ":authority" | ":scheme" | ":method");
        if routes && !self.allow_all_routing {
            return false;
        }
        self.allow_envoy || !name.starts_with("x-envoy")
    }
}

fn matches(regex: Option<&Regex>, name: &str) -> bool {
    regex.is_some_and(|regex| regex.is_match(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules<const N: usize>(entries: [(&str, Node); N]) -> Rules {
        Rules::parse(&Node::map(entries)).unwrap()
    }

    #[test]
    fn without_rules_routing_is_safe() {
        let rules = Rules::default();
        for name in ["x-mine", ":path", ":status", "content-type"] {
            assert!(rules.allow(Operation::Set, name), "{name}");
        }
        for name in [
            "host",
            ":authority",
            ":method",
            ":scheme",
            "x-envoy-retry-on",
        ] {
            assert!(!rules.allow(Operation::Set, name), "{name}");
        }
        assert!(rules.allow(Operation::Remove, "x-mine"));
        assert!(!rules.allow(Operation::Remove, ":path"));
        assert!(!rules.allow(Operation::Append, ":path"));
    }

    #[test]
    fn expressions_go_before_flags() {
        let rules = rules([
            ("disallow_all", true.into()),
            ("allow_expression", "x-a.*".into()),
            ("disallow_expression", "x-ab".into()),
        ]);
        assert!(rules.allow(Operation::Set, "x-ac"));
        assert!(!rules.allow(Operation::Set, "x-ab"));
        assert!(!rules.allow(Operation::Set, "other"));
    }

    #[test]
    fn flags_widen_and_narrow() {
        let wide = rules([
            ("allow_all_routing", true.into()),
            ("allow_envoy", true.into()),
        ]);
        assert!(wide.allow(Operation::Set, ":authority"));
        assert!(wide.allow(Operation::Set, "x-envoy-a"));
        let narrow = rules([("disallow_system", true.into())]);
        assert!(!narrow.allow(Operation::Set, ":path"));
    }
}
