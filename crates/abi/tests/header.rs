//! `sdk/c/transom.h` is what the types of this crate say.

use std::collections::BTreeMap;
use std::path::Path;

use cbindgen::{Builder, Config};

#[test]
fn the_header_is_made_of_the_types() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut names = BTreeMap::new();
    let sources = [
        "lib",
        "values",
        "event",
        "library",
        "network",
        "listener",
        "access_log",
        "certificate_provider",
        "selector",
        "client",
        "host",
    ];
    for source in sources {
        let text = std::fs::read_to_string(root.join(format!("src/{source}.rs"))).unwrap();
        names.extend(text.lines().filter_map(c_name));
    }
    config.export.rename.extend(names.clone());
    let mut builder = Builder::new().with_config(config);
    for source in sources {
        builder = builder.with_src(root.join(format!("src/{source}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = in_words_of_c(&String::from_utf8(made).unwrap(), &names);
    let path = root.join("../../sdk/c/transom.h");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == kept,
        "sdk/c/transom.h is not what crates/abi says; `UPDATE_EXPECTED=1 cargo test -p transom-abi` writes it"
    );
}

/// What a line of Rust declares, and its name in C: `transom_local_reply` for `LocalReply`, `TRANSOM_GONE` for `GONE`.
fn c_name(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("pub ")?;
    let (what, rest) = rest.split_once(' ')?;
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    let name = rest.get(..end)?;
    let c = match what {
        "const" => format!("TRANSOM_{name}"),
        "struct" | "type" => {
            let mut snake = "transom".to_owned();
            for letter in name.chars() {
                if letter.is_uppercase() {
                    snake.push('_');
                }
                snake.extend(letter.to_lowercase());
            }
            snake
        }
        _ => return None,
    };
    Some((name.to_owned(), c))
}

/// Rust's links as plain names: `TRANSOM_GONE` for [`GONE`](crate::GONE).
fn in_words_of_c(text: &str, names: &BTreeMap<String, String>) -> String {
    let mut made = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        made.push_str(before);
        let (name, behind) = link.split_once("`]").unwrap();
        let (owner, item) = name.split_once("::").unwrap_or(("", name));
        let named = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_owned());
        made.push('`');
        if !owner.is_empty() {
            made.push_str(&named(owner));
            made.push('.');
        }
        made.push_str(&named(item));
        made.push('`');
        rest = match behind.strip_prefix('(') {
            Some(target) => target.split_once(')').unwrap().1,
            None => behind,
        };
    }
    made.push_str(rest);
    made
}
