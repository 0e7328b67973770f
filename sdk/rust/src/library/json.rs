//! JSON (RFC 8259) as the interface's nodes. The SDK's form "library" has no dependencies, so that it can be built anywhere.

use transom_api::{Key, Node, NodeKind, Span};

/// Values within values: more than a configuration has, and less than a stack.
const DEEPEST: usize = 128;

/// Reads JSON. The offset in the span of a node is its number in the order in which they begin; nothing at all is `null`.
pub(crate) fn read(json: &[u8]) -> Result<Node, String> {
    let text = std::str::from_utf8(json).map_err(|_| "it is no UTF-8".to_owned())?;
    let mut reader = Reader {
        text,
        at: 0,
        count: 0,
    };
    reader.blanks();
    if reader.at == text.len() {
        return Ok(Node::null());
    }
    let node = reader.value(0)?;
    reader.blanks();
    match reader.at == text.len() {
        true => Ok(node),
        false => Err(reader.wrong("the end")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    count: u32,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, String> {
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} values are within each other"));
        }
        let span = Some(Span {
            source: 0,
            offset: self.count,
            len: 0,
            line: 0,
            column: 0,
        });
        self.count += 1;
        let kind = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => NodeKind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ if self.word("null") => NodeKind::Null,
            _ if self.word("true") => NodeKind::Bool(true),
            _ if self.word("false") => NodeKind::Bool(false),
            _ => return Err(self.wrong("a value")),
        };
        Ok(Node { kind, span })
    }

    fn map(&mut self, depth: usize) -> Result<NodeKind, String> {
        let mut entries = Vec::new();
        self.at += 1;
        self.blanks();
        if self.byte(b'}') {
            return Ok(NodeKind::Map(entries));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            if !self.byte(b':') {
                return Err(self.wrong("a colon"));
            }
            self.blanks();
            let value = self.value(depth + 1)?;
            let key = Key {
                name,
                span: value.span,
            };
            entries.push((key, value));
            self.blanks();
            match (self.byte(b','), self.byte(b'}')) {
                (true, _) => {}
                (false, true) => return Ok(NodeKind::Map(entries)),
                (false, false) => return Err(self.wrong("a comma or a brace")),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<NodeKind, String> {
        let mut items = Vec::new();
        self.at += 1;
        self.blanks();
        if self.byte(b']') {
            return Ok(NodeKind::List(items));
        }
        loop {
            self.blanks();
            items.push(self.value(depth + 1)?);
            self.blanks();
            match (self.byte(b','), self.byte(b']')) {
                (true, _) => {}
                (false, true) => return Ok(NodeKind::List(items)),
                (false, false) => return Err(self.wrong("a comma or a bracket")),
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        if !self.byte(b'"') {
            return Err(self.wrong("text"));
        }
        let mut text = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest
                .find(|letter: char| matches!(letter, '"' | '\\' | '\0'..='\x1f'))
                .ok_or_else(|| self.wrong("the end of the text"))?;
            text.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escaped()?);
                }
                _ => return Err(self.wrong("an escaped control character")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let letter = self.peek().ok_or_else(|| self.wrong("an escape"))?;
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let code = match first {
                    // The two halves of a character beyond the first 65,536.
                    0xd800..=0xdbff if self.word("\\u") => {
                        let second = self.hex()?;
                        0x1_0000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff)
                    }
                    code => code,
                };
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.wrong("an escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4);
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.wrong("four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self) -> Result<NodeKind, String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest
            .find(|letter: char| !matches!(letter, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let digits = rest.get(..end).unwrap_or_default();
        let kind = if let Ok(whole) = digits.parse::<i128>() {
            NodeKind::Integer(whole)
        } else if let Ok(number) = digits.parse::<f64>() {
            NodeKind::Float(number)
        } else {
            return Err(self.wrong("a number"));
        };
        self.at += end;
        Ok(kind)
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn byte(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = rest.starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn wrong(&self, wanted: &str) -> String {
        format!("{wanted} is expected at byte {}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_interface_writes_is_read() {
        let node = Node::map([
            ("a", Node::list([1.into(), true.into(), Node::null()])),
            ("b\"", Node::from("line\n\u{1}é\\")),
            ("c", Node::from(0.5)),
            ("d", Node::map([])),
            ("e", Node::list([])),
            ("f", Node::from(-7)),
        ]);
        assert_eq!(read(node.to_json().as_bytes()).unwrap(), node);
    }

    #[test]
    fn what_others_write_is_read() {
        let node = read(b" { \"a\\/\" : [ \"\\ud83d\\ude00\\u00e9\", 1e3 ,-0.5 ] }\n").unwrap();
        let expected = Node::map([(
            "a/",
            Node::list(["\u{1f600}é".into(), 1000.0.into(), (-0.5).into()]),
        )]);
        assert_eq!(node, expected);
        assert!(read(b"").unwrap().is_null());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in [
            "{",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "\"",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "1 2",
            "nul",
            "-",
            "\u{7f}",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read(&[b'"', 0xff, b'"']).is_err());
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }
}
