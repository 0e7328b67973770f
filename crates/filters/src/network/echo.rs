//! `echo`: sends back what comes, until the client has ended. It ends its chain.
//!
//! It has no configuration.
//!
//! ```yaml
//! network_filters:
//!   - name: echo
//! ```
//!
//! A client that does not read what it gets back is not read either, once 256 KiB wait for it.
//!
//! | metric | what |
//! |---|---|
//! | `transom_echo_bytes_total{filter}` | bytes that were sent back |

use transom_api::builtin::NetworkBuiltin;
use transom_api::{
    Connection, Counter, Direction, NetworkFilter, NetworkVerdict, NetworkWants, Node, ParseError,
    PrepareContext, PrepareError, Schema,
};

/// The configuration, and the filter of a connection.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    bytes: Option<Counter>,
}

impl NetworkBuiltin for Echo {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object().describe("Sends back what comes.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self::default())
    }

    fn is_terminal(&self) -> bool {
        true
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let help = "Bytes that echo sent back.";
        self.bytes = Some(super::counter(context, "echo_bytes_total", help)?);
        Ok(())
    }

    fn wants(&self) -> NetworkWants {
        NetworkWants::DATA
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

impl NetworkFilter for Echo {
    fn on_data(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
        let came = connection.bytes(Direction::Request).to_vec();
        // Bytes that are shown can be taken away.
        let _ = connection.bytes_mut(Direction::Request).clear();
        if let Some(bytes) = self.bytes {
            connection.count(bytes, u32::try_from(came.len()).unwrap_or(u32::MAX));
        }
        connection.inject(Direction::Response, &came, end);
        NetworkVerdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use transom_api::testing::FakeWorker;

    use super::*;

    #[test]
    fn what_comes_goes_back_and_no_further() {
        let mut worker = FakeWorker::new();
        let used = worker.network_builtin::<Echo>(&Node::null()).unwrap();
        let mut connection = used.connection();
        connection.begin();
        connection.data("abc", false);
        assert_eq!(connection.sent(Direction::Response), b"abc");
        assert!(!connection.has_ended(Direction::Response));
        connection.data("def", true);
        assert_eq!(connection.sent(Direction::Response), b"abcdef");
        assert!(connection.has_ended(Direction::Response));
        assert_eq!(connection.sent(Direction::Request), b"");
        assert_eq!(worker.process().metric("echo_bytes_total"), 6);
    }

    #[test]
    fn a_configuration_is_refused() {
        let node = Node::map([("body", "x".into())]);
        let error = FakeWorker::new()
            .network_builtin::<Echo>(&node)
            .unwrap_err();
        assert!(error.to_string().contains("unknown key `body`"), "{error}");
    }
}
