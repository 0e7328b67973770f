//! Who may pass, by address: what the filters of all kinds named `ip_access` share.

use std::net::IpAddr;

use transom_api::{Fields, Networks, Node, ParseError, Schema, Shape};

/// Rules in their order, and what becomes of all others.
#[derive(Debug)]
pub(crate) struct AddressPolicy {
    rules: Vec<(Action, Networks)>,
    default: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Deny,
}

impl AddressPolicy {
    /// The keys `default` and `rules`.
    pub(crate) fn schema() -> Schema {
        let action = || Schema::new(Shape::OneOf(vec!["allow", "deny"]));
        let rule = Schema::object()
            .required(
                "action",
                action().describe("What becomes of these addresses."),
            )
            .required(
                "addresses",
                Schema::list(Schema::string())
                    .describe("Addresses and networks: 192.0.2.1, 10.0.0.0/8, 2001:db8::/32."),
            );
        Schema::object()
            .required(
                "default",
                action().describe("What becomes of an address that no rule has."),
            )
            .optional(
                "rules",
                Schema::list(rule).describe("The first rule that has the address decides."),
            )
    }

    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, ParseError> {
        let default = Action::parse(fields.required("default")?)?;
        let rules = fields
            .optional("rules")
            .map_or(Ok(&[][..]), Node::as_list)?;
        Ok(Self {
            rules: rules.iter().map(parse_rule).collect::<Result<_, _>>()?,
            default,
        })
    }

    /// What becomes of an address; of a client that has none (a Unix socket) the default.
    pub(crate) fn judge(&self, address: Option<IpAddr>) -> Action {
        let Some(address) = address else {
            return self.default;
        };
        self.rules
            .iter()
            .find(|(_, networks)| networks.contain(address))
            .map_or(self.default, |(action, _)| *action)
    }
}

impl Action {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        match node.as_str()? {
            "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            other => Err(node
                .error(format!("unknown action {other:?}"))
                .with_help("write `allow` or `deny`")),
        }
    }
}

fn parse_rule(node: &Node) -> Result<(Action, Networks), ParseError> {
    let mut fields = node.as_fields()?;
    let action = Action::parse(fields.required("action")?)?;
    let addresses = fields.required("addresses")?;
    fields.finish()?;
    Ok((action, Networks::parse(addresses)?))
}
