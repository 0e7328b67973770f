//! The crate between the user's and the proxy: it exports a constructor, and has nothing of its own.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::KINDS;
use crate::error::BuildError;
use crate::sources::write_sdk;
use crate::user::User;

/// A request that was found good.
#[derive(Debug)]
pub(crate) struct Glue {
    name: String,
    kind: String,
    new: String,
}

impl Glue {
    /// Reads what the crate is not needed for. All of it becomes source text: nothing passes that is no name.
    pub(crate) fn read(name: &str, kind: &str, new: &str) -> Result<Self, BuildError> {
        if !is_name(name) {
            return Err(BuildError::Name(name.to_owned()));
        }
        if !KINDS.contains(&kind) {
            return Err(BuildError::Kind {
                kind: kind.to_owned(),
                name: name.to_owned(),
            });
        }
        let steps: Vec<&str> = new.split("::").collect();
        if steps.len() < 2 || !steps.iter().all(|step| is_identifier(step)) {
            return Err(BuildError::New(new.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            new: new.to_owned(),
        })
    }

    /// Sees that the constructor is in the user's crate.
    pub(crate) fn is_of(&self, user: &User) -> Result<(), BuildError> {
        let asked = self.new.split("::").next().unwrap_or_default();
        if asked != user.library {
            return Err(BuildError::OtherCrate {
                new: self.new.clone(),
                asked: asked.to_owned(),
                found: user.library.clone(),
            });
        }
        Ok(())
    }

    /// The source. The library is that of `of`, a package and its version.
    pub(crate) fn source(&self, of: (&str, &str)) -> String {
        let Self { name, kind, new } = self;
        let (package, version) = of;
        format!(
            "// Written by transom {}: the library of {new}.\ntransom_sdk::export_plugin! {{\n    @of {package:?} {version:?};\n    {name}: {kind}({new}),\n}}\n",
            env!("CARGO_PKG_VERSION")
        )
    }

    /// The name of the glue's package, and of the library that cargo makes.
    pub(crate) fn package(&self) -> &str {
        &self.name
    }

    /// Writes the crate into a folder, with the SDK if the user's crate brings none.
    pub(crate) fn write(&self, folder: &Folder, user: &User) -> Result<(), BuildError> {
        let own = folder.path.join("sdk");
        let sdk = match &user.sdk {
            Some(sdk) => sdk.clone(),
            None => {
                write_sdk(&own)?;
                own.join("transom-sdk")
            }
        };
        // A crate that names the SDK by its version gets these: there is no registry where there is no network.
        let patch = match user.sdk {
            Some(_) => String::new(),
            None => ["transom-sdk", "transom-api", "transom-abi"].iter().fold(
                "\n[patch.crates-io]\n".to_owned(),
                |text, name| {
                    format!(
                        "{text}{name} = {{ path = {:?} }}\n",
                        own.join(name).display().to_string()
                    )
                },
            ),
        };
        let manifest = format!(
            "[package]\nname = \"transom-library-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
             [lib]\nname = \"{name}\"\npath = \"src/lib.rs\"\ncrate-type = [\"cdylib\"]\n\n\
             [dependencies]\n{package} = {{ path = {user:?} }}\n\
             transom-sdk = {{ path = {sdk:?}, default-features = false, features = [\"library\"] }}\n{patch}\n\
             # A panic must unwind to be caught at the border.\n\
             [profile.release]\npanic = \"unwind\"\nlto = \"thin\"\ncodegen-units = 1\nstrip = true\n\n[workspace]\n",
            name = self.name,
            package = user.package,
            user = user.folder.display().to_string(),
            sdk = sdk.display().to_string(),
        );
        folder.put("Cargo.toml", &manifest)?;
        let of = (user.package.as_str(), user.version.as_str());
        folder.put("src/lib.rs", &self.source(of))?;
        if let Some(lock) = &user.lock {
            let to = folder.path.join("Cargo.lock");
            fs::copy(lock, &to).map_err(BuildError::file(lock))?;
        }
        Ok(())
    }
}

/// As every language that plugins are written in takes it.
fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_'))
}

fn is_identifier(word: &str) -> bool {
    let mut letters = word.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// A folder that only this user can look into, removed with what is in it.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn new() -> Result<Self, BuildError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let path = std::env::temp_dir().join(format!(
            "transom-build-{}-{}-{:x}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed),
            now.as_nanos()
        ));
        // Nobody else's: one that is there already, or a link of that name, is an error.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|why| BuildError::Folder {
            path: path.clone(),
            why,
        })?;
        Ok(Self { path })
    }

    fn put(&self, name: &str, text: &str) -> Result<(), BuildError> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(parent).map_err(BuildError::file(parent))?;
        fs::write(&path, text).map_err(BuildError::file(&path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the temporary folder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_become_source() {
        let source = Glue::read("auth", "stream_filter", "my_auth::filters::new").unwrap();
        assert!(
            source
                .source(("my-auth", "1.0.0"))
                .contains("auth: stream_filter(my_auth::filters::new),")
        );
        for (name, kind, new) in [
            ("Auth", "stream_filter", "a::new"),
            ("a-b", "stream_filter", "a::new"),
            ("auth", "filter", "a::new"),
            ("auth", "stream_filter", "new"),
            ("auth", "stream_filter", "a::new()"),
            ("auth", "stream_filter", "a::"),
            ("auth", "stream_filter", "a::new), b: Evil, (c::d"),
        ] {
            assert!(Glue::read(name, kind, new).is_err(), "{name} {kind} {new}");
        }
    }

    #[test]
    fn a_private_folder_goes_with_its_content() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new().unwrap();
        folder.put("a/b", "text").unwrap();
        let path = folder.path.clone();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        drop(folder);
        assert!(!path.exists());
    }
}
