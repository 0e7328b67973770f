//! `/logging`: which lines of the process's log are written.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use transom_api::Level;
use transom_api::control::LogLevels;
use transom_api::node::known;

use crate::answer::{Pieces, answer, text};
use crate::routes::Shown;

/// Beside the levels: nothing is written.
const OFF: &str = "off";

pub(crate) async fn show(State(desk): Shown) -> Response {
    shown(&desk.control.log_levels())
}

pub(crate) async fn set(State(desk): Shown, uri: Uri) -> Response {
    let order = match Order::parse(uri.query().unwrap_or_default()) {
        Ok(order) => order,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let target = order.target.as_deref();
    match desk.control.set_log_level(target, order.level) {
        Ok(()) => shown(&desk.control.log_levels()),
        Err(why) => text(StatusCode::BAD_REQUEST, why),
    }
}

fn shown(levels: &LogLevels) -> Response {
    let json = serde_json::json!({"level": levels.all, "targets": levels.targets});
    let page = format!("{json:#}\n").into_bytes();
    answer(StatusCode::OK, "application/json", Pieces::cut(&page))
}

#[derive(Debug, PartialEq, Eq)]
struct Order {
    target: Option<String>,
    level: Option<Level>,
}

impl Order {
    /// Reads `level=debug` or `target=transom_proxy&level=debug`. None of it needs percent-encoding.
    fn parse(query: &str) -> Result<Self, String> {
        let (mut target, mut level) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("level", name)) => level = Some(parse_level(name)?),
                Some(("target", name)) => {
                    target = Some(name.replace("%3A", ":").replace("%3a", ":"));
                }
                _ => {
                    let name = pair.split('=').next().unwrap_or_default();
                    return Err(format!(
                        "unknown parameter {name:?}: {}",
                        known(name, "parameters", &["level", "target"])
                    ));
                }
            }
        }
        let level = level.ok_or_else(|| {
            "which level? Order it as /logging?level=debug, or /logging?target=transom_proxy&level=debug"
                .to_owned()
        })?;
        Ok(Self { target, level })
    }
}

fn parse_level(name: &str) -> Result<Option<Level>, String> {
    if name == OFF {
        return Ok(None);
    }
    let level = Level::ALL.into_iter().find(|level| level.name() == name);
    level.map(Some).ok_or_else(|| {
        let mut names = Level::ALL.map(Level::name).to_vec();
        names.push(OFF);
        format!("unknown level {name:?}: {}", known(name, "levels", &names))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_a_level_and_maybe_a_target() {
        for (query, target, level) in [
            ("level=debug", None, Some(Level::Debug)),
            ("level=off", None, None),
            ("target=a::b&level=trace", Some("a::b"), Some(Level::Trace)),
            (
                "level=warn&target=a%3A%3Ab",
                Some("a::b"),
                Some(Level::Warn),
            ),
        ] {
            let order = Order {
                target: target.map(str::to_owned),
                level,
            };
            assert_eq!(Order::parse(query), Ok(order), "{query}");
        }
    }

    #[test]
    fn what_is_no_order_is_told_the_known_words() {
        for (query, message) in [
            ("", "which level?"),
            ("target=x", "which level?"),
            (
                "level=debgu",
                "unknown level \"debgu\": did you mean `debug`? Known levels: trace, debug, info, warn, error, off",
            ),
            ("level=info&paths=x", "unknown parameter \"paths\""),
        ] {
            let error = Order::parse(query).unwrap_err();
            assert!(error.starts_with(message), "{query}: {error}");
        }
    }
}
