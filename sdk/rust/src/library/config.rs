//! A configuration: JSON in, the interface's nodes out, and mistakes with the way to their value.

use transom_abi::{Fault, Slice};
use transom_api::{Node, NodeKind, ParseError, PrepareError, Span};

use super::host::bytes_of;
use super::json;

/// What is wrong with a configuration, and where.
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) place: Option<Span>,
    pub(crate) help: Option<String>,
}

impl From<ParseError> for Wrong {
    fn from(error: ParseError) -> Self {
        Self {
            message: error.message,
            place: error.span,
            help: error.help,
        }
    }
}

impl From<PrepareError> for Wrong {
    fn from(error: PrepareError) -> Self {
        Self {
            message: error.message,
            place: error.span,
            help: error.help,
        }
    }
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self {
            message,
            place: None,
            help: None,
        }
    }
}

/// Reads the configuration that the host gives.
///
/// # Safety
///
/// `config` must be what the host gave.
pub(crate) unsafe fn read(config: Slice) -> Result<Node, Wrong> {
    // SAFETY: Promised by the caller.
    let read = json::read(unsafe { bytes_of(config) });
    Ok(read.map_err(|why| format!("the configuration is no JSON: {why}"))?)
}

/// Tells the host what is wrong.
///
/// # Safety
///
/// `fault` must be null or the host's room for it.
pub(crate) unsafe fn tell(fault: *mut Fault, config: Option<&Node>, wrong: Wrong) {
    // SAFETY: Promised by the caller.
    let Some(fault) = (unsafe { fault.as_mut() }) else {
        return;
    };
    let text = match wrong.help {
        Some(help) => format!("{} ({help})", wrong.message),
        None => wrong.message,
    };
    let path = config.zip(wrong.place).and_then(|(config, place)| {
        let mut path = String::new();
        leads(config, place.offset, &mut path).then_some(path)
    });
    // SAFETY: The host's promise: so much room.
    unsafe {
        fault.len = put(&text, fault.text, fault.capacity);
        // A way that is cut off would lead elsewhere.
        let path = path.filter(|path| path.len() <= fault.path_capacity);
        fault.path_len = put(&path.unwrap_or_default(), fault.path, fault.path_capacity);
    }
}

/// # Safety
///
/// `to` must have that much room.
unsafe fn put(text: &str, to: *mut u8, room: usize) -> usize {
    let mut len = text.len().min(room);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    if !to.is_null() {
        // SAFETY: Promised by the caller.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), to, len) };
    }
    len
}

/// Writes the JSON pointer (RFC 6901) of the node of this number.
fn leads(node: &Node, number: u32, path: &mut String) -> bool {
    if node.span.is_some_and(|span| span.offset == number) {
        return true;
    }
    let before = path.len();
    let mut into = |step: &str, child: &Node| {
        path.push('/');
        path.push_str(&step.replace('~', "~0").replace('/', "~1"));
        let found = leads(child, number, path);
        if !found {
            path.truncate(before);
        }
        found
    };
    match &node.kind {
        NodeKind::List(items) => {
            let mut items = items.iter().enumerate();
            items.any(|(at, item)| into(&at.to_string(), item))
        }
        NodeKind::Map(entries) => entries.iter().any(|(key, value)| into(&key.name, value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_known_by_the_way_to_it() {
        let config = json::read(br#"{"rules": [{"a/b": 0}, {"a/b": "text"}]}"#).unwrap();
        let rules = config.entry("rules").unwrap().as_list().unwrap();
        let wrong = rules[1].entry("a/b").unwrap().as_bool().unwrap_err();
        let (mut text, mut path) = ([0; 8], [0; 64]);
        let mut fault = Fault {
            size: size_of::<Fault>(),
            text: text.as_mut_ptr(),
            capacity: text.len(),
            len: 0,
            path: path.as_mut_ptr(),
            path_capacity: path.len(),
            path_len: 0,
        };
        // SAFETY: There is so much room.
        unsafe { tell(&raw mut fault, Some(&config), wrong.into()) };
        let (len, path_len) = (fault.len, fault.path_len);
        assert_eq!(&text[..len], b"expected");
        assert_eq!(&path[..path_len], b"/rules/1/a~1b");
    }
}
