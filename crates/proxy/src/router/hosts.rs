//! Which virtual host answers for an authority.

use std::collections::HashMap;

use super::trie::Trie;

/// The domains of a table. What is looked up costs the length of the authority, however many domains there are.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// `host` and `host:port`.
    exact: HashMap<Box<[u8]>, u32>,
    /// `.suffix`, and `.suffix:port`, both read from their end.
    suffixes: Trie,
    ported_suffixes: Trie,
    /// `prefix.`, and `port:prefix.`.
    prefixes: Trie,
    ported_prefixes: Trie,
    /// `*:port`.
    ports: HashMap<Box<[u8]>, u32>,
    any: Option<u32>,
    /// There is no domain but `*`, so that the authority need not be looked at.
    only_any: bool,
}

impl Hosts {
    /// Domains as the loader gives them, each with the number of its virtual host. None is there twice.
    pub(crate) fn new<'d>(domains: impl Iterator<Item = (&'d str, u32)>) -> Self {
        let mut hosts = Self::default();
        let mut suffixes = [Vec::new(), Vec::new()];
        let mut prefixes = [Vec::new(), Vec::new()];
        let reversed = |text: &str| text.bytes().rev().collect::<Vec<u8>>();
        for (domain, index) in domains {
            let domain = domain.to_ascii_lowercase();
            let (host, port) = split(domain.as_bytes());
            let port = port.map(|port| String::from_utf8_lossy(port).into_owned());
            let host = String::from_utf8_lossy(host).into_owned();
            let [plain_suffixes, ported_suffixes] = &mut suffixes;
            let [plain_prefixes, ported_prefixes] = &mut prefixes;
            match (host.strip_prefix('*'), host.strip_suffix('*'), port) {
                (Some(""), _, None) => hosts.any = Some(index),
                (Some(""), _, Some(port)) => {
                    hosts.ports.insert(port.into_bytes().into(), index);
                }
                (Some(suffix), _, None) => plain_suffixes.push((reversed(suffix), index)),
                (Some(_), _, Some(_)) => {
                    let suffix = domain.strip_prefix('*').unwrap_or_default();
                    ported_suffixes.push((reversed(suffix), index));
                }
                (None, Some(prefix), None) => {
                    plain_prefixes.push((prefix.as_bytes().to_vec(), index));
                }
                (None, Some(prefix), Some(port)) => {
                    ported_prefixes.push((format!("{port}:{prefix}").into_bytes(), index));
                }
                (None, None, _) => {
                    hosts.exact.insert(domain.into_bytes().into(), index);
                }
            }
        }
        hosts.only_any = hosts.exact.is_empty()
            && hosts.ports.is_empty()
            && suffixes.iter().chain(&prefixes).all(Vec::is_empty);
        [hosts.suffixes, hosts.ported_suffixes] = suffixes.map(Trie::new);
        [hosts.prefixes, hosts.ported_prefixes] = prefixes.map(Trie::new);
        hosts
    }

    /// The closest that an authority has: exact with its port, exact, the longest suffix with the port, the longest
    /// suffix, the longest prefix with the port, the longest prefix, any host at the port, any.
    pub(crate) fn find(&self, authority: &[u8]) -> Option<u32> {
        if self.only_any {
            return self.any;
        }
        let (host, port) = split(authority);
        if !self.exact.is_empty() {
            let found = with_lower_case(authority, |authority| {
                let exact = port.and_then(|_| self.exact.get(authority));
                let host = authority.get(..host.len()).unwrap_or_default();
                exact.or_else(|| self.exact.get(host)).copied()
            });
            if found.is_some() {
                return found;
            }
        }
        let lower = |byte: &u8| byte.to_ascii_lowercase();
        // Something must stand for the star: `*.example.org` does not mean `.example.org` itself.
        let longest = |found: &mut dyn Iterator<Item = (u32, usize)>, whole: usize| {
            let found = found.take_while(|(_, len)| *len < whole).last();
            found.map(|(index, _)| index)
        };
        let ported_suffix = || {
            port.filter(|_| !self.ported_suffixes.is_empty())?;
            let text = authority.iter().rev().map(lower);
            longest(&mut self.ported_suffixes.walk(text), authority.len())
        };
        let suffix = || {
            let text = host.iter().rev().map(lower);
            longest(&mut self.suffixes.walk(text), host.len())
        };
        let ported_prefix = || {
            let port = port.filter(|_| !self.ported_prefixes.is_empty())?;
            let text = port.iter().chain(b":").chain(host).map(lower);
            longest(
                &mut self.ported_prefixes.walk(text),
                port.len() + 1 + host.len(),
            )
        };
        let prefix = || {
            let text = host.iter().map(lower);
            longest(&mut self.prefixes.walk(text), host.len())
        };
        ported_suffix()
            .or_else(suffix)
            .or_else(ported_prefix)
            .or_else(prefix)
            .or_else(|| port.and_then(|port| self.ports.get(port)).copied())
            .or(self.any)
    }
}

/// The host of an authority and its port; brackets of an IPv6 address stay.
pub(super) fn split(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let digits = authority
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let at = authority.len() - digits;
    let (before, port) = authority.split_at_checked(at).unwrap_or((authority, &[]));
    match before.strip_suffix(b":") {
        // In `[::1]` the last colon stands inside the brackets; `::1` without them is no host with a port either.
        Some(host) if !host.is_empty() && (host.ends_with(b"]") || !host.contains(&b':')) => {
            (host, (!port.is_empty()).then_some(port))
        }
        _ => (authority, None),
    }
}

/// Calls `then` with the text in lower case, without an allocation for what is no longer than a name in DNS can be.
fn with_lower_case<R>(text: &[u8], then: impl FnOnce(&[u8]) -> R) -> R {
    let mut short = [0; 264];
    if let Some(short) = short.get_mut(..text.len()) {
        short.copy_from_slice(text);
        short.make_ascii_lowercase();
        return then(short);
    }
    then(&text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(domains: &[&str], table: &[(&str, Option<&str>)]) {
        let hosts = Hosts::new(domains.iter().copied().zip(0..));
        for (authority, expected) in table {
            let found = hosts.find(authority.as_bytes());
            let found = found.map(|index| domains[index as usize]);
            assert_eq!(found, *expected, "{authority}");
        }
    }

    #[test]
    fn the_closest_domain_wins() {
        let domains = [
            "*",
            "a.example.org",
            "a.example.org:81",
            "*.example.org",
            "*.b.example.org",
            "*.example.org:8080",
            "www.*",
            "www.shop.*",
            "www.*:81",
            "*:9000",
            "[::1]",
            "[::1]:81",
        ];
        check(
            &domains,
            &[
                ("a.example.org", Some("a.example.org")),
                ("A.EXAMPLE.ORG", Some("a.example.org")),
                ("a.example.org:80", Some("a.example.org")),
                ("a.example.org:", Some("a.example.org")),
                ("a.example.org:81", Some("a.example.org:81")),
                ("x.example.org", Some("*.example.org")),
                ("X.Example.Org:80", Some("*.example.org")),
                ("x.example.org:8080", Some("*.example.org:8080")),
                ("x.b.example.org", Some("*.b.example.org")),
                ("x.b.example.org:8080", Some("*.example.org:8080")),
                ("example.org", Some("*")),
                (".example.org", Some("*")),
                ("www.other.net", Some("www.*")),
                ("www.shop.net", Some("www.shop.*")),
                ("WWW.other.net:81", Some("www.*:81")),
                ("www.example.org", Some("*.example.org")),
                ("www.", Some("*")),
                ("other:9000", Some("*:9000")),
                ("www.other.net:9000", Some("www.*")),
                ("[::1]", Some("[::1]")),
                ("[::1]:80", Some("[::1]")),
                ("[::1]:81", Some("[::1]:81")),
                ("[::2]:81", Some("*")),
                ("", Some("*")),
                (":9000", Some("*")),
            ],
        );
    }

    #[test]
    fn without_a_domain_for_all_some_authorities_have_none() {
        check(
            &["a.org", "*:81"],
            &[
                ("a.org:81", Some("a.org")),
                ("b.org:81", Some("*:81")),
                ("b.org", None),
                ("", None),
            ],
        );
        let long = "a".repeat(300);
        let upper = long.to_ascii_uppercase();
        check(&[&long], &[(&upper, Some(&long))]);
    }
}
