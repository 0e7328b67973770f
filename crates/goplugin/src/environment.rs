//! The variables through which a host talks to a plugin before there is a connection.

/// Lower end of the ports that a plugin may listen on; decimal.
pub const MIN_PORT: &str = "PLUGIN_MIN_PORT";
/// Upper end of the ports that a plugin may listen on; decimal.
pub const MAX_PORT: &str = "PLUGIN_MAX_PORT";
/// The host's versions, decimal, with commas between them and no blanks.
pub const PROTOCOL_VERSIONS: &str = "PLUGIN_PROTOCOL_VERSIONS";
/// Set (to `true`) when the host wants all brokered connections on one socket.
pub const MULTIPLEX_GRPC: &str = "PLUGIN_MULTIPLEX_GRPC";
/// The host's certificate as PEM text; its presence asks for mutual TLS.
pub const CLIENT_CERT: &str = "PLUGIN_CLIENT_CERT";
/// Group name or id that may use the plugin's Unix sockets.
pub const UNIX_SOCKET_GROUP: &str = "PLUGIN_UNIX_SOCKET_GROUP";
/// Folder in which the plugin makes its Unix sockets.
pub const UNIX_SOCKET_DIR: &str = "PLUGIN_UNIX_SOCKET_DIR";

/// Reads a boolean as Go's `strconv.ParseBool` does; `None` for every other text.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a decimal as Go's `strconv.Atoi` does: an optional sign, digits, nothing else.
///
/// Rust's own parser agrees with it on everything but the width; 32 bits are enough for a version.
pub fn parse_int(text: &str) -> Option<i32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_the_spellings_of_go_and_no_others() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Some(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Some(false), "{text}");
        }
        for text in ["", "yes", "tRUE", " true", "2"] {
            assert_eq!(parse_bool(text), None, "{text}");
        }
    }

    #[test]
    fn decimals_have_a_sign_and_digits_only() {
        assert_eq!(parse_int("+5"), Some(5));
        assert_eq!(parse_int("-1"), Some(-1));
        for text in ["", " 1", "1 ", "0x1", "1.0", "99999999999"] {
            assert_eq!(parse_int(text), None, "{text}");
        }
    }
}
