//! Requests for tunnels, as filters see them.

use transom_api::Headers;

/// Whether what follows this request's head may be a tunnel's: CONNECT, or an upgrade that the proxy lets through. The
/// field `upgrade` is in the view only then.
pub(crate) fn is_asked(request: &Headers<'_>) -> bool {
    request.contains("upgrade") || request.get(":method").is_some_and(|it| it == "CONNECT")
}
