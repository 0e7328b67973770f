//! Which files of a folder are programs.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// What stands behind a program's name in that of the file that says more of it.
pub(super) const MANIFEST: &str = ".yaml";

/// The same of its checksum, as `sha256sum` writes it, and of its signature.
const CHECKSUM: &str = ".sha256";
const SIGNATURE: &str = ".minisig";

/// A file that was changed so lately may still be written to.
const SETTLED: Duration = Duration::from_millis(200);

/// For so long it is waited for files that are written to.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest file beside a program that is read.
const LONGEST: u64 = 1 << 20;

/// More programs of one folder are passed over: each is a process.
const MOST: usize = 256;

/// A program.
pub(super) struct Found {
    /// The name of the file, without `@` and a version.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Changes whenever the program does, or what is said of it.
    pub(super) identity: String,
    pub(super) manifest: Option<String>,
    pub(super) sha256: Option<String>,
    /// Why it must not be used.
    pub(super) unusable: Option<String>,
}

/// The programs of a folder, the newest of each name, sorted by name.
pub(super) fn scan(folder: &Path, passed_over: &mut Vec<(PathBuf, String)>) -> Vec<Found> {
    if let Err(why) = fs::metadata(folder)
        .map_err(|error| format!("it cannot be read: {error}"))
        .and_then(|folder| is_safe(&folder))
    {
        passed_over.push((folder.to_owned(), why));
        return Vec::new();
    }
    let deadline = Instant::now() + PATIENCE;
    let candidates = loop {
        let candidates = match programs(folder) {
            Ok(candidates) => candidates,
            Err(error) => {
                passed_over.push((folder.to_owned(), format!("it cannot be read: {error}")));
                return Vec::new();
            }
        };
        let settled = candidates.iter().all(|(_, metadata)| is_settled(metadata));
        if settled || Instant::now() >= deadline {
            break candidates;
        }
        sleep(Duration::from_millis(50));
    };
    let mut newest: BTreeMap<String, (String, PathBuf, Metadata)> = BTreeMap::new();
    for (path, metadata) in candidates {
        let Some((name, version)) = named(&path) else {
            passed_over.push((
                path,
                "a plugin's name has letters, digits, `-`, `_` and `.`, and perhaps `@` and a version".to_owned(),
            ));
            continue;
        };
        let other = newest.get(&name).map(|(other, ..)| order_of(other));
        if other.is_none_or(|other| order_of(&version) > other) {
            newest.insert(name, (version, path, metadata));
        }
    }
    let mut found = Vec::new();
    for (name, (_, path, metadata)) in newest {
        if found.len() == MOST {
            passed_over.push((path, format!("a folder has {MOST} plugins at the most")));
            continue;
        }
        found.push(examine(name, path, &metadata));
    }
    found
}

/// Executable files, but for those that lie beside a program or are hidden.
fn programs(folder: &Path) -> std::io::Result<Vec<(PathBuf, Metadata)>> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_beside = [MANIFEST, CHECKSUM, SIGNATURE]
            .iter()
            .any(|end| name.ends_with(end));
        if is_beside || name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        // One that went away meanwhile is not there.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_file() && metadata.mode() & 0o100 != 0 {
            programs.push((path, metadata));
        }
    }
    programs.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(programs)
}

fn examine(name: String, path: PathBuf, metadata: &Metadata) -> Found {
    let mut unusable = is_safe(metadata).err();
    if !is_settled(metadata) {
        unusable = Some("it is still written to".to_owned());
    }
    let mut beside = |end: &str| match read_beside(&path, end) {
        Ok(text) => text,
        Err(why) => {
            unusable = Some(why);
            None
        }
    };
    let manifest = beside(MANIFEST);
    let sha256 = beside(CHECKSUM).map(|text| {
        // `sha256sum` puts the file's name behind it.
        text.split_ascii_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    Found {
        identity: identity(&path),
        name,
        path,
        manifest,
        sha256,
        unusable,
    }
}

/// A file beside a program; `None` where there is none.
fn read_beside(program: &Path, end: &str) -> Result<Option<String>, String> {
    let path = beside(program, end);
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(told(error)),
    };
    let metadata = file.metadata().map_err(told)?;
    is_safe(&metadata).map_err(|why| format!("{}: {why}", path.display()))?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(told)?;
    Ok(Some(text))
}

fn beside(program: &Path, end: &str) -> PathBuf {
    let mut name = program.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// What tells a program from another one at the same place: which file it is, how long, and when it and what lies beside it were changed.
pub(super) fn identity(program: &Path) -> String {
    let one = |path: &Path| match fs::metadata(path) {
        Ok(file) => format!(
            "{} bytes of file {}, changed {}.{:09}",
            file.len(),
            file.ino(),
            file.mtime(),
            file.mtime_nsec()
        ),
        Err(_) => "-".to_owned(),
    };
    let mut identity = one(program);
    for end in [MANIFEST, CHECKSUM] {
        let path = beside(program, end);
        if path.exists() {
            identity.push_str(&format!("; {end} {}", one(&path)));
        }
    }
    identity
}

/// Only the proxy's user and root may have a say in what is run as the proxy's child.
fn is_safe(file: &Metadata) -> Result<(), String> {
    // The owner of a process is the owner of its folder there: proc(5).
    let own = fs::metadata("/proc/self").map_or(0, |own| own.uid());
    if file.uid() != 0 && file.uid() != own {
        return Err(format!(
            "it belongs to user {}, and not to root or user {own}, whom Transom runs as",
            file.uid()
        ));
    }
    if file.mode() & 0o022 != 0 {
        return Err(format!(
            "its mode is {:o}: others than its owner may change it; say chmod go-w",
            file.mode() & 0o7777
        ));
    }
    Ok(())
}

fn is_settled(file: &Metadata) -> bool {
    let Ok(changed) = file.modified() else {
        return true;
    };
    // A time that is to come says nothing.
    SystemTime::now()
        .duration_since(changed)
        .is_ok_and(|age| age >= SETTLED)
        || changed > SystemTime::now() + SETTLED
}

/// Name and version of a program; the version is empty where there is none.
fn named(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?;
    let (name, version) = name.split_once('@').unwrap_or((name, ""));
    let is_good = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
    };
    let good = !name.is_empty() && is_good(name) && is_good(version);
    good.then(|| (name.to_owned(), version.to_owned()))
}

/// The order of versions: numbers as numbers, and no version before any.
fn order_of(version: &str) -> Vec<(bool, u64, String)> {
    version
        .split(['.', '-', '_', '+'])
        .filter(|part| !part.is_empty())
        .map(|part| match part.parse() {
            Ok(number) => (true, number, String::new()),
            Err(_) => (false, 0, part.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_people_do() {
        let mut versions = ["1.10", "", "1.9", "2", "1.9.1"];
        versions.sort_by_key(|version| order_of(version));
        assert_eq!(versions, ["", "1.9", "1.9.1", "1.10", "2"]);
    }

    #[test]
    fn names_have_no_slash_and_no_blank() {
        let named = |name: &str| named(Path::new(name));
        let pair = |name: &str, version: &str| Some((name.to_owned(), version.to_owned()));
        assert_eq!(named("/d/auth"), pair("auth", ""));
        assert_eq!(named("/d/auth@1.2"), pair("auth", "1.2"));
        assert_eq!(named("/d/a b"), None);
        assert_eq!(named("/d/@1"), None);
    }
}
