//! `direct_response`: answers every client with the same bytes, and ends. It ends its chain.
//!
//! | key | default | what |
//! |---|---|---|
//! | `text` | | the answer, as text |
//! | `base64` | | the answer, as bytes in Base64 (RFC 4648) |
//! | `file` | | the path of a file with the answer, 1 MiB at most, read when the filter is prepared; a relative one begins at the configuration's folder |
//!
//! One of the three must be given. A file that changes is read again when this configuration changes.
//!
//! ```yaml
//! network_filters:
//!   - name: direct_response
//!     config: {text: "the service has moved to 192.0.2.7\n"}
//! ```
//!
//! What the client says is read and not looked at, so that it gets the whole answer; a client that has not closed 5 s
//! after the answer is closed.
//!
//! | metric | what |
//! |---|---|
//! | `transom_direct_response_total{filter}` | connections that were answered |

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use transom_api::builtin::NetworkBuiltin;
use transom_api::{
    Connection, Counter, Direction, Event, NetworkFilter, NetworkVerdict, NetworkWants, Node,
    ParseError, PrepareContext, PrepareError, Schema, Span,
};

/// Larger answers want a server.
const LARGEST: u64 = 1 << 20;
/// How long a client may take to close after the answer: closing before it has read it all may cost it the rest.
const LINGER: Duration = Duration::from_secs(5);

/// The configuration.
#[derive(Clone, Debug)]
pub struct DirectResponse {
    answer: Answer,
    answered: Option<Counter>,
}

#[derive(Clone, Debug)]
enum Answer {
    Bytes(Arc<[u8]>),
    File(String, Option<Span>),
}

impl NetworkBuiltin for DirectResponse {
    type Filter = DirectResponseFilter;

    fn schema() -> Schema {
        Schema::object()
            .optional("text", Schema::string().describe("The answer, as text."))
            .optional(
                "base64",
                Schema::string().describe("The answer, as bytes in Base64."),
            )
            .optional(
                "file",
                Schema::string().describe("The path of a file with the answer, 1 MiB at most."),
            )
            .describe("Answers every client with the same bytes. One of the three must be given.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let given = ["text", "base64", "file"].map(|key| (key, fields.optional(key)));
        fields.finish()?;
        let mut given = given
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        let Some((key, value)) = given.next() else {
            return Err(node
                .error("there is no answer")
                .with_help("write one of `text`, `base64` and `file`"));
        };
        if let Some((second, value)) = given.next() {
            return Err(value.error(format!("`{key}` and `{second}` exclude each other")));
        }
        let text = value.as_str()?;
        let answer = match key {
            "text" => Answer::Bytes(text.as_bytes().into()),
            "base64" => {
                let bytes = STANDARD
                    .decode(text.split_ascii_whitespace().collect::<String>())
                    .map_err(|error| value.error(format!("this is no Base64: {error}")))?;
                Answer::Bytes(bytes.into())
            }
            _ => Answer::File(text.to_owned(), value.span),
        };
        Ok(Self {
            answer,
            answered: None,
        })
    }

    fn is_terminal(&self) -> bool {
        true
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        if let Answer::File(path, span) = &self.answer {
            let failed = |why: String| {
                PrepareError::new(format!("the answer in {path} cannot be read: {why}"))
                    .at(*span)
                    .with_help(
                        "write the path of a file of 1 MiB at most that this process may read",
                    )
            };
            let bytes = read(&context.path(path)).map_err(|error| failed(error.to_string()))?;
            self.answer = Answer::Bytes(bytes.into());
        }
        let help = "Connections that direct_response answered.";
        self.answered = Some(super::counter(context, "direct_response_total", help)?);
        Ok(())
    }

    fn wants(&self) -> NetworkWants {
        NetworkWants::DATA
    }

    fn filter(&self) -> DirectResponseFilter {
        DirectResponseFilter(Rc::new(self.clone()))
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Error, Read};
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// The filter of a connection.
#[derive(Debug)]
pub struct DirectResponseFilter(Rc<DirectResponse>);

impl NetworkFilter for DirectResponseFilter {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        if let Answer::Bytes(bytes) = &self.0.answer {
            connection.inject(Direction::Response, bytes, true);
        }
        if let Some(answered) = self.0.answered {
            connection.count(answered, 1);
        }
        connection.set_timer(LINGER);
        NetworkVerdict::Continue
    }

    fn on_data(&mut self, connection: &mut Connection<'_>, _end: bool) -> NetworkVerdict {
        // Bytes that are shown can be taken away.
        let _ = connection.bytes_mut(Direction::Request).clear();
        NetworkVerdict::Continue
    }

    fn on_event(&mut self, connection: &mut Connection<'_>, event: Event) {
        if let Event::Timer(_) = event {
            connection.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use transom_api::testing::FakeWorker;

    use super::*;

    fn answer(key: &'static str, value: &str) -> Vec<u8> {
        let mut worker = FakeWorker::new();
        let node = Node::map([(key, value.into())]);
        let used = worker.network_builtin::<DirectResponse>(&node).unwrap();
        let mut connection = used.connection();
        connection.begin();
        assert!(connection.has_ended(Direction::Response));
        assert_eq!(worker.process().metric("direct_response_total"), 1);
        connection.sent(Direction::Response).to_vec()
    }

    #[test]
    fn the_answer_comes_at_once_from_each_source() {
        assert_eq!(answer("text", "hello\n"), b"hello\n");
        assert_eq!(answer("base64", "AP8\n=\n"), [0, 255]);
        let folder = std::env::temp_dir().join(format!("transom-direct-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("answer");
        std::fs::write(&file, b"from a file").unwrap();
        assert_eq!(answer("file", file.to_str().unwrap()), b"from a file");
        std::fs::write(&file, vec![0; LARGEST as usize + 1]).unwrap();
        let node = Node::map([("file", file.to_str().unwrap().into())]);
        let error = FakeWorker::new()
            .network_builtin::<DirectResponse>(&node)
            .unwrap_err();
        assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_the_client_says_goes_nowhere_and_it_is_closed_in_time() {
        let mut worker = FakeWorker::new();
        let node = Node::map([("text", "x".into())]);
        let used = worker.network_builtin::<DirectResponse>(&node).unwrap();
        let mut connection = used.connection();
        connection.begin();
        connection.data("anything", false);
        assert_eq!(connection.sent(Direction::Request), b"");
        assert!(!connection.is_closed());
        connection.advance(LINGER);
        assert!(connection.is_closed());
    }

    #[test]
    fn an_answer_must_be_given_once_and_be_there() {
        let refused = |entries: &[(&'static str, &str)]| {
            let node = Node::map(entries.iter().map(|(key, value)| (*key, (*value).into())));
            FakeWorker::new()
                .network_builtin::<DirectResponse>(&node)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[]).contains("there is no answer"));
        assert!(
            refused(&[("text", "a"), ("file", "b")])
                .contains("`text` and `file` exclude each other")
        );
        assert!(refused(&[("base64", "%")]).contains("this is no Base64"));
        assert!(refused(&[("file", "/nowhere/at/all")]).contains("cannot be read"));
        assert!(refused(&[("file", "/")]).contains("it is no file"));
    }
}
