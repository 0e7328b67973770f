//! What a plugin says that a filter needs, as the interface has it.

use transom_api::stream::Wants;

use crate::v1::Needs;

/// A plugin asked for callbacks that this host's revision does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the plugin asks for callbacks with the unknown bits {0:#x}: it was made for a newer host")]
pub struct UnknownCallbacks(pub u32);

/// Reads what a filter needs. Numbers that are 0 leave the interface's defaults.
pub fn wants(needs: &Needs) -> Result<Wants, UnknownCallbacks> {
    let unknown = UnknownCallbacks(needs.callbacks & !Wants::KNOWN_BITS);
    let callbacks = Wants::from_bits(needs.callbacks).ok_or(unknown)?;
    Ok(callbacks.bounds(
        needs.whole_request_body,
        needs.whole_response_body,
        needs.buffer_limit,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The callbacks, in the order of their bits on the wire.
    const CALLBACKS: [Wants; 9] = [
        Wants::REQUEST_HEADERS,
        Wants::REQUEST_BODY,
        Wants::REQUEST_TRAILERS,
        Wants::RESPONSE_HEADERS,
        Wants::RESPONSE_BODY,
        Wants::RESPONSE_TRAILERS,
        Wants::COMPLETE,
        Wants::CHANGES_REQUEST_LENGTH,
        Wants::CHANGES_RESPONSE_LENGTH,
    ];

    fn of(callbacks: u32) -> Result<Wants, UnknownCallbacks> {
        wants(&Needs {
            callbacks,
            ..Needs::default()
        })
    }

    #[test]
    fn each_bit_is_its_callback() {
        for (bit, callback) in CALLBACKS.into_iter().enumerate() {
            assert_eq!(of(1 << bit), Ok(callback), "{bit}");
        }
        assert_eq!(of(0), Ok(Wants::NOTHING));
        assert_eq!(of(127), Ok(Wants::EVERYTHING));
        assert_eq!(of(512 | 1), Err(UnknownCallbacks(512)));
    }

    #[test]
    fn limits_are_kept_and_zero_is_the_default() {
        let needs = Needs {
            callbacks: 1,
            whole_request_body: 10,
            whole_response_body: 20,
            buffer_limit: 30,
            ..Needs::default()
        };
        let wants = wants(&needs).unwrap();
        assert_eq!(wants.whole_request_body, Some(10));
        assert_eq!(wants.whole_response_body, Some(20));
        assert_eq!(wants.buffer_limit, 30);
        assert!(wants.sees_request_body());
        assert_eq!(of(1).unwrap().buffer_limit, Wants::NOTHING.buffer_limit);
    }
}
