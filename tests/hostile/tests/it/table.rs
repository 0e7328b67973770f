//! The table: what is sent, and what is to come of it.

use std::sync::LazyLock;

use serde::Deserialize;

/// A row of `rows.json`. Its strings are bytes, each character one of them (Latin-1).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// All that the client sends.
    send: Vec<Piece>,
    /// Engines that were tried with these bytes and refused at least a part of them.
    pub(crate) refused_by: Vec<String>,
    /// Why it is served although some engine refuses it.
    #[serde(default)]
    pub(crate) served_because: Option<String>,
    /// The status of each answer.
    pub(crate) statuses: Vec<u16>,
    /// What becomes of the client's connection after the last answer.
    pub(crate) then: Fate,
    /// The requests that the upstream receives, to the byte.
    upstream: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    /// `{n}` in the text is the number of the repetition.
    Repeated {
        repeat: String,
        times: u32,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// Another request on it is served.
    Open,
    /// The proxy ends it: an end, not a reset.
    Closed,
}

/// All rows, in the order of the file.
pub(crate) static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let text = include_str!("../../rows.json");
    serde_json::from_str(text).expect("rows.json is a list of rows")
});

impl Row {
    pub(crate) fn named(name: &str) -> &'static Row {
        let row = ROWS.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("rows.json has no row {name:?}"))
    }

    /// The bytes that the client sends.
    pub(crate) fn input(&self) -> Vec<u8> {
        self.send.iter().flat_map(Piece::bytes).collect()
    }

    pub(crate) fn upstream(&self) -> Vec<Vec<u8>> {
        self.upstream.iter().map(|text| latin1(text)).collect()
    }

    /// Whether anything of it is refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.statuses.iter().any(|&status| status >= 400)
    }
}

impl Piece {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => latin1(text),
            Self::Repeated { repeat, times } => (0..*times)
                .flat_map(|n| latin1(&repeat.replace("{n}", &n.to_string())))
                .collect(),
        }
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|byte| u8::try_from(u32::from(byte)).expect("a character of rows.json is a byte"))
        .collect()
}
