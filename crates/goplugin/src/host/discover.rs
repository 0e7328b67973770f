//! Finding plugins by the names of their files.

use std::io;
use std::path::{Path, PathBuf};

/// The files of `folder` whose names match `glob`, as absolute paths, sorted: Go's `Discover`.
///
/// In `glob`, `*` stands for any text, `?` for one character, `[a-z]` for one of a range, `[^…]` for one outside, and a backslash takes
/// the next character as it is; nothing crosses a slash. Folders do not match. A folder that does not exist has no plugins.
#[doc(alias = "Discover")]
pub fn discover(glob: &str, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = std::path::absolute(folder)?;
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let pattern: Vec<char> = glob.chars().collect();
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name: Vec<char> = name.unwrap_or_default().chars().collect();
        if matches(&pattern, &name) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the whole of `name` matches. A star is tried at each length, remembering only the last one: linear in memory, quadratic in time.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut pattern_rest, mut name_rest) = (pattern, name);
    let mut star: Option<(&[char], &[char])> = None;
    loop {
        match pattern_rest {
            ['*', rest @ ..] => {
                star = Some((rest, name_rest));
                pattern_rest = rest;
                continue;
            }
            [] if name_rest.is_empty() => return true,
            _ => {}
        }
        if let [character, after @ ..] = name_rest
            && let Some(rest) = one(pattern_rest, *character)
        {
            pattern_rest = rest;
            name_rest = after;
            continue;
        }
        let Some((after_star, [_, shorter @ ..])) = star else {
            return false;
        };
        star = Some((after_star, shorter));
        pattern_rest = after_star;
        name_rest = shorter;
    }
}

/// Matches one character with the pattern's next element; returns the pattern after it.
fn one(pattern: &[char], character: char) -> Option<&[char]> {
    match pattern {
        ['?', rest @ ..] => Some(rest),
        ['\\', literal, rest @ ..] => (*literal == character).then_some(rest),
        ['[', rest @ ..] => class(rest, character),
        [literal, rest @ ..] => (*literal == character).then_some(rest),
        [] => None,
    }
}

/// Matches a class, after its opening bracket. A class without an end matches nothing.
fn class(pattern: &[char], character: char) -> Option<&[char]> {
    let (negated, mut rest) = match pattern {
        ['^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    let mut first = true;
    loop {
        rest = match rest {
            [']', after @ ..] if !first => return (found != negated).then_some(after),
            [low, '-', high, after @ ..] if *high != ']' => {
                found |= (*low..=*high).contains(&character);
                after
            }
            [one, after @ ..] => {
                found |= *one == character;
                after
            }
            [] => return None,
        };
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        let cases = [
            ("*", "anything", true),
            ("terraform-provider-*", "terraform-provider-aws", true),
            ("terraform-provider-*", "terraform-aws", false),
            ("*-plugin", "kv-plugin", true),
            ("*-plugin", "kv-plugin.old", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[a-c", "b", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "", true),
        ];
        for (pattern, name, expected) in cases {
            let pattern_chars: Vec<char> = pattern.chars().collect();
            let name_chars: Vec<char> = name.chars().collect();
            assert_eq!(
                matches(&pattern_chars, &name_chars),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
