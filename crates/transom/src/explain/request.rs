//! The request that a command line describes.

use std::collections::BTreeMap;

use transom_api::{HeaderMap, Phase, field};
use transom_proxy::control::explain::{Destination, Request};

use super::Question;

/// A request, checked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) authority: String,
    pub(super) path: String,
    /// Header fields beside `Host`.
    pub(super) fields: Vec<(String, String)>,
    listener: Option<String>,
    destination: Option<(String, u16)>,
}

/// Why a command line describes no request.
#[derive(Debug)]
pub(super) struct BadRequest {
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl Asked {
    pub(super) fn new(question: &Question<'_>) -> Result<Self, BadRequest> {
        let connect = question.method == "CONNECT";
        let url = match connect {
            true => Url::authority(question.url)?,
            false => Url::parse(question.url)?,
        };
        let mut host = None;
        let mut fields = Vec::new();
        for header in question.headers {
            let (name, value) = split_header(header)?;
            if !name.eq_ignore_ascii_case("host") {
                fields.push((name.to_owned(), value.to_owned()));
            } else if host.replace(value).is_some() {
                return Err(refused(
                    "`Host` is given twice".to_owned(),
                    "a request has one (RFC 9112 section 3.2)",
                ));
            }
        }
        let asked = Self {
            method: question.method.to_owned(),
            url: question.url.to_owned(),
            authority: host.unwrap_or(url.authority).to_owned(),
            path: url.path,
            fields,
            listener: question.listener.map(str::to_owned),
            destination: url.destination,
        };
        let pseudo = [
            (":method", &asked.method, "write a method, such as GET"),
            (":authority", &asked.authority, "write HOST or HOST:PORT"),
            (
                ":path",
                &asked.path,
                "what is no path character is written %XX",
            ),
        ];
        for (name, value, help) in pseudo {
            // An origin-form URL without `Host` has no authority, as HTTP/1.0 requests may.
            // CONNECT has no path.
            let absent = value.is_empty() && (name == ":authority" || name == ":path" && connect);
            let map = HeaderMap::RequestHeaders;
            if !absent && field::check(map, name.as_bytes(), value.as_bytes()).is_err() {
                let what = name.trim_start_matches(':');
                return Err(refused(format!("{value:?} is no {what}"), help));
            }
        }
        Ok(asked)
    }

    /// `phases`: what plugins said of their filters.
    pub(super) fn request<'a>(&'a self, phases: &'a BTreeMap<String, Phase>) -> Request<'a> {
        Request {
            listener: self.listener.as_deref(),
            destination: self
                .destination
                .as_ref()
                .map(|(host, port)| Destination { host, port: *port }),
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            phases,
            fields: &self.fields,
        }
    }
}

struct Url<'a> {
    authority: &'a str,
    path: String,
    destination: Option<(String, u16)>,
}

impl<'a> Url<'a> {
    /// The target of CONNECT, which says nothing of where the request itself is sent (RFC 9110 section 9.3.6).
    fn authority(text: &'a str) -> Result<Self, BadRequest> {
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(refused(
                format!("{text:?} is no target of CONNECT"),
                "write HOST:PORT",
            ));
        }
        Ok(Self {
            authority: text,
            path: String::new(),
            destination: None,
        })
    }

    /// `http://HOST[:PORT][/PATH][?QUERY]`, or only a path (RFC 9110 section 4.2, RFC 9112 section 3.2.1).
    fn parse(text: &'a str) -> Result<Self, BadRequest> {
        const FORM: &str = "write http://HOST:PORT/PATH, or only the path";
        // Clients keep the fragment to themselves.
        let sent = text.split('#').next().unwrap_or_default();
        if sent.starts_with('/') || sent == "*" {
            return Ok(Self {
                authority: "",
                path: sent.to_owned(),
                destination: None,
            });
        }
        let (rest, default_port) = match sent.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest, 80),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (rest, 443),
            _ => return Err(refused(format!("{text:?} is no URL"), FORM)),
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        let path = if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("/{target}")
        };
        if authority.contains('@') {
            return Err(refused(
                format!("{text:?} has a user name before its host"),
                "clients do not send it (RFC 9110 section 4.2.4): leave it out",
            ));
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of `[::1]` belongs to the address.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port.filter(|port| !port.is_empty()) {
            Some(port) => port
                .parse()
                .map_err(|_| refused(format!("{port:?} is no port"), "write 1 to 65535"))?,
            None => default_port,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refused(format!("{text:?} names no host"), FORM));
        }
        Ok(Self {
            authority,
            path,
            destination: Some((host.to_owned(), port)),
        })
    }
}

fn split_header(header: &str) -> Result<(&str, &str), BadRequest> {
    let bad = || {
        refused(
            format!("{header:?} is no header"),
            "write it as 'Name: value'",
        )
    };
    let (name, value) = header.split_once(':').ok_or_else(bad)?;
    let value = value.trim_matches([' ', '\t']);
    if !field::is_name(name.as_bytes()) || !field::is_value(value.as_bytes()) {
        return Err(bad());
    }
    Ok((name, value))
}

fn refused(message: String, help: &'static str) -> BadRequest {
    BadRequest { message, help }
}
