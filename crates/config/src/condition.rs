//! For which requests and connections a use works.

use crate::{FieldMatch, IpNetwork, RouteMatch};

/// One of its cases must hold. A case that asks nothing does not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// At least one.
    pub cases: Vec<Case>,
}

/// What must hold together.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What is asked of the request, in the words of a route; `None` asks nothing of it.
    pub request: Option<RouteMatch>,
    /// The client's address is in one of these networks; empty is any.
    pub source_networks: Vec<IpNetwork>,
    /// Attributes by their names. Numbers and truths are asked for as text.
    pub attributes: Vec<FieldMatch>,
    /// Holds where it would not, and nowhere else.
    pub invert: bool,
}
