//! One form for paths that mean the same, so that routes and filters cannot be walked around.
//!
//! `/%61dmin`, `/x/../admin` and, by option, `//admin` and `/x%2fadmin` reach the same resource of most upstreams as their
//! plain forms do. Routing and filters see the plain form. What differs only in how it is encoded (RFC 3986 sections
//! 6.2.2.1 and 6.2.2.2) means the same to everyone, and goes on as the client wrote it; what segments it has (section
//! 6.2.2.3) does not, so a path whose segments were changed goes on changed: what was guarded is what is asked for.

use transom_config::{PathOptions, Treatment};

use super::matcher::hex;

/// What became of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Normalised {
    /// It has that form already.
    Same,
    /// Another spelling of the same: for routing and filters.
    Spelling(Vec<u8>),
    /// Another path: for the upstream too.
    Path(Vec<u8>),
    /// The options refuse it.
    Refused,
}

/// Normalises the path of a target; its query stays as it is.
pub(crate) fn normalise(target: &[u8], options: PathOptions) -> Normalised {
    let (path, _) = crate::stream::split_query(target);
    // `*` and what CONNECT asks for have no segments.
    if path.first() != Some(&b'/') || is_plain(path, options) {
        return Normalised::Same;
    }
    let query = target.get(path.len()..).unwrap_or_default();
    let Some((mut decoded, unescaped)) = decode(path, options.escaped_slashes) else {
        return Normalised::Refused;
    };
    let mut changed = unescaped;
    match options.dot_segments {
        Treatment::Keep => {}
        treatment => {
            if decoded.split(|byte| *byte == b'/').any(is_dots) {
                if treatment == Treatment::Reject {
                    return Normalised::Refused;
                }
                decoded = without_dots(&decoded);
                changed = true;
            }
        }
    }
    if options.merge_slashes && decoded.windows(2).any(|pair| pair == b"//") {
        decoded.dedup_by(|later, first| *later == b'/' && *first == b'/');
        changed = true;
    }
    if decoded == path {
        return Normalised::Same;
    }
    decoded.extend_from_slice(query);
    if changed {
        Normalised::Path(decoded)
    } else {
        Normalised::Spelling(decoded)
    }
}

/// Whether there is nothing to look for: the way of nearly all paths, in one pass.
fn is_plain(path: &[u8], options: PathOptions) -> bool {
    let dots = options.dot_segments != Treatment::Keep;
    let mut after_slash = false;
    for byte in path {
        match byte {
            b'%' => return false,
            b'.' if after_slash && dots => return false,
            b'/' if after_slash && options.merge_slashes => return false,
            _ => after_slash = *byte == b'/',
        }
    }
    true
}

/// Decodes what stands for unreserved characters (RFC 3986 section 2.3) and writes other codes in upper case. `None` when
/// an escaped slash is refused; true when one was decoded. `%5C` counts as one: upstreams on Windows take it so.
fn decode(path: &[u8], slashes: Treatment) -> Option<(Vec<u8>, bool)> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut unescaped = false;
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let code = match after {
            [high, low, ..] if *first == b'%' => hex(*high, *low),
            _ => None,
        };
        let Some(byte) = code else {
            decoded.push(*first);
            continue;
        };
        rest = after.get(2..).unwrap_or_default();
        match (byte, slashes) {
            (b'/' | b'\\', Treatment::Reject) => return None,
            (b'/' | b'\\', Treatment::Normalise) => {
                decoded.push(b'/');
                unescaped = true;
            }
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => decoded.push(byte),
            _ => {
                decoded.push(b'%');
                let code = after.get(..2).unwrap_or_default();
                decoded.extend(code.iter().map(u8::to_ascii_uppercase));
            }
        }
    }
    Some((decoded, unescaped))
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// Removes dot segments (RFC 3986 section 5.2.4). Above the root there is only the root.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path
        .strip_prefix(b"/")
        .unwrap_or(path)
        .split(|byte| *byte == b'/')
        .peekable();
    while let Some(segment) = segments.next() {
        if segment == b".." {
            kept.pop();
        }
        if !is_dots(segment) {
            kept.push(segment);
        } else if segments.peek().is_none() {
            // `/a/.` is the folder `/a/`.
            kept.push(b"");
        }
    }
    let mut path = Vec::with_capacity(path.len());
    for segment in kept {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: PathOptions = PathOptions {
        escaped_slashes: Treatment::Keep,
        dot_segments: Treatment::Normalise,
        merge_slashes: false,
    };

    fn path(text: &str) -> Normalised {
        Normalised::Path(text.as_bytes().to_vec())
    }

    fn spelling(text: &str) -> Normalised {
        Normalised::Spelling(text.as_bytes().to_vec())
    }

    fn check(options: PathOptions, table: &[(&str, Normalised)]) {
        for (target, expected) in table {
            let found = normalise(target.as_bytes(), options);
            assert_eq!(found, *expected, "{target}");
            // Normalised once is normalised for good.
            if let Normalised::Path(again) | Normalised::Spelling(again) = found {
                assert_eq!(normalise(&again, options), Normalised::Same, "{target}");
            }
        }
    }

    #[test]
    fn by_default_spellings_and_dot_segments_are_normalised() {
        check(
            DEFAULT,
            &[
                ("/", Normalised::Same),
                ("/a/b.c/.d/..e/...?x=/../y", Normalised::Same),
                ("*", Normalised::Same),
                ("", Normalised::Same),
                ("//a//", Normalised::Same),
                ("/a%2Fb%20", Normalised::Same),
                ("/%61dmin", spelling("/admin")),
                ("/%7euser/%2d%2E%5f", spelling("/~user/-._")),
                ("/a%2fb%5c", spelling("/a%2Fb%5C")),
                ("/%zz%4", Normalised::Same),
                ("/%61%", spelling("/a%")),
                ("/%252e%252e/", Normalised::Same),
                ("/a?%61", Normalised::Same),
                ("/%61?%61/../", spelling("/a?%61/../")),
                ("/a/../b", path("/b")),
                ("/a/./b?q", path("/a/b?q")),
                ("/a/%2e%2E/b", path("/b")),
                ("/a/.%2e", path("/")),
                ("/a/b/..", path("/a/")),
                ("/a/.", path("/a/")),
                ("/..", path("/")),
                ("/../../a", path("/a")),
                ("/a//../b", path("/a/b")),
                ("/x/..%2fadmin", spelling("/x/..%2Fadmin")),
            ],
        );
    }

    #[test]
    fn escaped_slashes_are_refused_or_decoded_by_option() {
        let reject = PathOptions {
            escaped_slashes: Treatment::Reject,
            ..DEFAULT
        };
        check(
            reject,
            &[
                ("/a%2fb", Normalised::Refused),
                ("/a%5Cb", Normalised::Refused),
                ("/a?%2f", Normalised::Same),
                ("/a%252f", Normalised::Same),
            ],
        );
        let normalise = PathOptions {
            escaped_slashes: Treatment::Normalise,
            ..DEFAULT
        };
        check(
            normalise,
            &[
                ("/a%2fb", path("/a/b")),
                ("/a%5cb?%2F", path("/a/b?%2F")),
                ("/x%2f..%2fadmin", path("/admin")),
                ("/x/..%5cadmin", path("/admin")),
            ],
        );
    }

    #[test]
    fn dot_segments_are_refused_or_kept_by_option() {
        let reject = PathOptions {
            dot_segments: Treatment::Reject,
            ..DEFAULT
        };
        check(
            reject,
            &[
                ("/a/../b", Normalised::Refused),
                ("/a/%2e", Normalised::Refused),
                ("/a/..b?/../", Normalised::Same),
            ],
        );
        let keep = PathOptions {
            dot_segments: Treatment::Keep,
            ..DEFAULT
        };
        check(
            keep,
            &[
                ("/a/../b", Normalised::Same),
                ("/%2e%2e/%61", spelling("/../a")),
            ],
        );
    }

    #[test]
    fn slashes_are_merged_by_option() {
        let merge = PathOptions {
            merge_slashes: true,
            ..DEFAULT
        };
        check(
            merge,
            &[
                ("/a//b///?x=//", path("/a/b/?x=//")),
                ("//", path("/")),
                ("/a/b", Normalised::Same),
                ("/a//../b", path("/a/b")),
            ],
        );
    }
}
