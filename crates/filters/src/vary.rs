//! The response header `vary`.

use transom_api::{HeaderError, HeadersMut};

/// Says that the response depends on the request's header `name`, unless that is said already (RFC 9110 section 12.5.5).
pub(crate) fn add(response: &mut HeadersMut<'_>, name: &str) -> Result<(), HeaderError> {
    let is_said = response.as_ref().get_all("vary").any(|value| {
        value
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_bytes()))
    });
    if is_said {
        return Ok(());
    }
    response.add("vary", name)
}
