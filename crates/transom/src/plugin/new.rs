//! `transom plugin new`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde_json::json;

use super::failed;
use crate::command::Output;
use crate::{BAD_INPUT, FAULT, GOOD};

/// The languages that there is an SDK for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// transom-sdk, built by cargo
    Rust,
    /// Go 1.24 or later
    Go,
    /// Python 3.10 or later, with grpcio and protobuf
    Python,
    /// Java 17 or later, built by Maven
    Java,
}

/// What is written: a path and a text, with @NAME@ and @SDK@ in it.
type Template = (&'static str, &'static str);

/// A file of the example that new plugins begin as.
macro_rules! example {
    ($file:literal) => {
        include_str!(concat!("../../../../examples/plugins/filter/", $file))
    };
}

/// What of the example's text is its own name, and how it is written for another.
const EXAMPLES_OWN: [(&str, &str); 4] = [
    ("\"filter\"", "\"@NAME@\""),
    ("filter_denied", "@NAME@_denied"),
    ("// Command filter ", "// Command @NAME@ "),
    (
        "import transom\n\n\nclass",
        "try:\n    import transom\nexcept ImportError:  # the SDK is not installed: it lies beside Transom's sources\n    import sys\n\n    \
         sys.path.insert(0, \"@SDK@/python\")\n    import transom\n\n\nclass",
    ),
];

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Python => "python",
            Self::Java => "java",
        }
    }

    /// The filter itself is that of `examples/plugins/filter`, under another name.
    fn files(self) -> &'static [Template] {
        match self {
            Self::Rust => &[
                ("Cargo.toml", include_str!("templates/rust/Cargo.toml.in")),
                ("src/main.rs", example!("rust/src/main.rs")),
            ],
            Self::Go => &[
                ("go.mod", include_str!("templates/go/go.mod.in")),
                ("main.go", example!("go/main.go")),
                ("main_test.go", example!("go/main_test.go")),
            ],
            Self::Python => &[
                ("filter.py", example!("python/filter.py")),
                ("test_filter.py", example!("python/test_filter.py")),
            ],
            Self::Java => &[
                ("pom.xml", include_str!("templates/java/pom.xml")),
                ("plugin/pom.xml", include_str!("templates/java/plugin.xml")),
                (
                    "plugin/src/main/java/Filter.java",
                    example!("java/src/main/java/Filter.java"),
                ),
                (
                    "plugin/src/test/java/FilterTest.java",
                    example!("java/src/test/java/FilterTest.java"),
                ),
            ],
        }
    }

    fn build(self) -> &'static str {
        match self {
            Self::Rust => "cargo build",
            Self::Go => "go build",
            Self::Python => "pip install grpcio protobuf",
            Self::Java => "mvn -q package",
        }
    }

    fn test(self) -> &'static str {
        match self {
            Self::Rust => "cargo test",
            Self::Go => "go test",
            Self::Python => "python3 -m unittest",
            Self::Java => "mvn -q test",
        }
    }

    /// How the plugin is started from its folder.
    fn command(self, name: &str) -> Vec<String> {
        match self {
            Self::Rust => vec![format!("target/debug/{name}")],
            Self::Go => vec![format!("./{name}")],
            Self::Python => vec!["python3".to_owned(), "filter.py".to_owned()],
            Self::Java => vec![
                "java".to_owned(),
                "-cp".to_owned(),
                "plugin/target/classes:plugin/target/dependency/*".to_owned(),
                "Filter".to_owned(),
            ],
        }
    }
}

/// Writes a new plugin into the folder `name`.
pub(super) fn new(language: Language, path: &Path, sdk: Option<&Path>, output: Output) -> u8 {
    match written(language, path, sdk) {
        Ok(files) => {
            let shown = path.display();
            match output {
                Output::Text => {
                    for file in &files {
                        println!("{}", path.join(file).display());
                    }
                    println!("next: cd {shown} && {}", language.test());
                }
                Output::Json => println!(
                    "{:#}",
                    json!({
                        "folder": shown.to_string(),
                        "files": files,
                        "build": language.build(),
                        "test": language.test(),
                    })
                ),
            }
            GOOD
        }
        Err((code, error, help)) => failed(output, code, &error, help),
    }
}

fn written(
    language: Language,
    path: &Path,
    sdk: Option<&Path>,
) -> Result<Vec<&'static str>, (u8, String, &'static str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| is_name(name)).ok_or((
        BAD_INPUT,
        format!("{} is no name for a plugin", path.display()),
        "a name begins with a letter and has lower case letters, digits and _ in it, such as my_filter",
    ))?;
    if path.exists() {
        let error = format!("{} is there already", path.display());
        return Err((BAD_INPUT, error, "choose another name, or move it away"));
    }
    let sdk = found(sdk).ok_or((
        BAD_INPUT,
        "the SDKs are not found".to_owned(),
        "--sdk PATH names the folder `sdk` of Transom's sources",
    ))?;
    let command = language.command(name);
    let quoted = |word: &String| {
        if word.contains('*') {
            format!("'{word}'")
        } else {
            word.clone()
        }
    };
    let fill = |text: &str| {
        let own = |text: String, (own, other): &(&str, &str)| text.replace(own, other);
        EXAMPLES_OWN
            .iter()
            .fold(text.to_owned(), own)
            .replace("@NAME@", name)
            .replace("@SDK@", &sdk.display().to_string())
            .replace("@LANG@", language.name())
            .replace("@BUILD@", language.build())
            .replace("@TEST@", language.test())
            .replace(
                "@COMMAND@",
                &command.iter().map(quoted).collect::<Vec<_>>().join(" "),
            )
            .replace(
                "@YAML@",
                &command
                    .iter()
                    .map(|word| json!(word).to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            )
    };
    let write = |file: &str, text: &str| -> std::io::Result<()> {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap_or(path))?;
        fs::write(file, fill(text))
    };
    let mut files = Vec::new();
    let readme = ("README.md", include_str!("templates/README.md"));
    for (file, text) in language.files().iter().chain([&readme]) {
        write(file, text).map_err(|error| {
            let what = path.join(file);
            (
                FAULT,
                format!("cannot write {}: {error}", what.display()),
                "",
            )
        })?;
        files.push(*file);
    }
    if language == Language::Go {
        // What the SDK needs has its sums there.
        let sums = fs::read_to_string(sdk.join("go/go.sum")).unwrap_or_default();
        // Without sums `go mod tidy` writes them; it is run here if there is a Go.
        let _ = fs::write(path.join("go.sum"), sums);
        let _ = Command::new("go")
            .args(["mod", "tidy"])
            .current_dir(path)
            .output();
    }
    Ok(files)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= 64
}

/// The folder of the SDKs: the one that is named, else that of the sources around here, else that of the sources this was built from.
fn found(named: Option<&Path>) -> Option<PathBuf> {
    let is_it = |folder: &Path| {
        folder
            .join("proto/transom/plugin/v1/plugin.proto")
            .is_file()
    };
    let whole = |folder: PathBuf| fs::canonicalize(folder).ok();
    if let Some(named) = named {
        return is_it(named).then(|| whole(named.to_path_buf())).flatten();
    }
    let around = std::env::current_dir().ok()?;
    around
        .ancestors()
        .map(|folder| folder.join("sdk"))
        .chain([Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk")])
        .find(|folder| is_it(folder))
        .and_then(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_every_language_takes() {
        for good in ["filter", "my_filter2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "2filter", "My", "my-filter", "a/b", "_a"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_sdks_are_found_from_here() {
        assert!(found(None).is_some());
        assert_eq!(found(Some(Path::new("/nowhere"))), None);
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let folder = std::env::temp_dir().join(format!("transom-new-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        for (language, name) in [
            (Language::Rust, "a"),
            (Language::Python, "b"),
            (Language::Java, "c"),
        ] {
            let path = folder.join(name);
            for file in written(language, &path, None).unwrap() {
                let text = fs::read_to_string(path.join(file)).unwrap();
                assert!(
                    !text.contains("@NAME@") && !text.contains("@SDK@"),
                    "{file}"
                );
            }
            let (code, error, _) = written(language, &path, None).unwrap_err();
            assert_eq!(code, BAD_INPUT);
            assert!(error.contains("there already"), "{error}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
