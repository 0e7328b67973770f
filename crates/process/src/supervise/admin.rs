//! MOSN's admin answers about the proxy's plugins, to the letter.

use super::supervisor::{Order, Supervisor};
use crate::call::{Answer, USAGE, bad, good, unknown, value};

/// What a query of `/plugin` asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// `status=NAME`, or `all`.
    Status(String),
    /// `enable=NAME`.
    Enable(String),
    /// `disable=NAME`.
    Disable(String),
    /// None of these.
    Usage,
}

impl Question {
    /// Reads a query (what is behind the question mark): `enable`, `disable` or `status`, in this order of precedence; one without a value
    /// counts as absent.
    pub fn read(query: &str) -> Self {
        if let Some(name) = value(query, "enable") {
            Self::Enable(name)
        } else if let Some(name) = value(query, "disable") {
            Self::Disable(name)
        } else {
            value(query, "status").map_or(Self::Usage, Self::Status)
        }
    }

    /// Whether it changes something.
    pub fn changes(&self) -> bool {
        matches!(self, Self::Enable(_) | Self::Disable(_))
    }
}

impl Supervisor {
    /// Answers as MOSN does: see [`call::answer`](crate::call::answer), whose plugins are those of the library form.
    pub async fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Enable(name) => match self.enable(name).await {
                Ok(()) => good(format!("enable {name} success\n")),
                Err(Order::Unknown) => unknown(name),
                Err(error) => bad(format!("{error}\n")),
            },
            Question::Disable(name) => match self.disable(name).await {
                Ok(()) => good(format!("disable {name} success\n")),
                Err(_) => unknown(name),
            },
            Question::Status(all) if all == "all" => {
                let lines = self.names().into_iter().filter_map(|name| self.line(&name));
                good(lines.map(|line| line + "\n").collect::<String>() + "\n")
            }
            Question::Status(name) => match self.line(name) {
                Some(line) => good(line + "\n"),
                None => unknown(name),
            },
            Question::Usage => bad(USAGE.to_owned()),
        }
    }

    fn line(&self, name: &str) -> Option<String> {
        let versions = self.versions(name);
        let newest = versions.last()?;
        let status = crate::call::Status {
            name: name.to_owned(),
            enable: newest.is_enabled(),
            on: newest.state().runs(),
        };
        Some(status.to_string())
    }
}
