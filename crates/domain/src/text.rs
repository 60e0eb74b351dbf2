//! Short texts that people type: names, notes, usernames, plans. Bounded, without control
//! characters, so that they can stand in a mail header or a log line.

/// The longest display or account name, in characters.
pub const NAME_LENGTH_MAX: usize = 200;
/// The longest note on a change, in characters.
pub const NOTE_LENGTH_MAX: usize = 500;
/// The longest username at an OAuth provider, in bytes.
pub const USERNAME_LENGTH_MAX: usize = 254;
/// The longest name of a plan, in bytes.
pub const PLAN_LENGTH_MAX: usize = 100;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("is missing")]
    Missing,
    #[error("has more than {0} characters")]
    TooLong(usize),
    #[error("holds a control or direction-changing character")]
    ControlCharacter,
    #[error("holds white space")]
    WhiteSpace,
}

/// Characters that can forge a line or turn the reading direction of what follows.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of at most `length_max` characters, trimmed; may be empty.
///
/// # Errors
/// When it is longer or holds a dangerous character.
pub fn line(text: &str, length_max: usize) -> Result<String, TextError> {
    check_line(text, length_max).map(str::to_owned)
}

/// As [`line`], without a copy.
///
/// # Errors
/// As [`line`].
pub fn check_line(text: &str, length_max: usize) -> Result<&str, TextError> {
    let text = text.trim();
    // Most are plain ASCII, and a check has some.
    if text.len() <= length_max && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(text);
    }
    if text.chars().count() > length_max {
        return Err(TextError::TooLong(length_max));
    }
    if text.chars().any(is_dangerous) {
        return Err(TextError::ControlCharacter);
    }
    Ok(text)
}

/// A text that must be there.
///
/// # Errors
/// As [`line`], and when nothing is left after trimming.
pub fn required_line(text: &str, length_max: usize) -> Result<String, TextError> {
    match line(text, length_max)? {
        text if text.is_empty() => Err(TextError::Missing),
        text => Ok(text),
    }
}

/// The login name at an OAuth provider, as typed.
///
/// # Errors
/// When it is empty, too long, or holds white space or control characters.
pub fn username(text: &str) -> Result<String, TextError> {
    let text = required_line(text, USERNAME_LENGTH_MAX)?;
    if text.len() > USERNAME_LENGTH_MAX {
        return Err(TextError::TooLong(USERNAME_LENGTH_MAX));
    }
    if text.chars().any(char::is_whitespace) { Err(TextError::WhiteSpace) } else { Ok(text) }
}

/// What usernames are matched by: providers do not tell `Bob` from `bob`.
pub fn username_key(username: &str) -> String {
    username.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_forge_a_header_or_turn_the_line() {
        for bad in ["a\r\nBcc: x@y", "a\0", "\u{1b}[31m", "a\u{202e}b", "a\u{2028}b"] {
            assert_eq!(line(bad, 200), Err(TextError::ControlCharacter), "{bad:?}");
        }
        assert_eq!(line(&"ä".repeat(201), 200), Err(TextError::TooLong(200)));
        assert_eq!(line(&"ä".repeat(200), 200).unwrap().chars().count(), 200);
        assert_eq!(line(" Zoë <b> ", 200).unwrap(), "Zoë <b>", "escaping is the mail's matter");
    }

    #[test]
    fn usernames_have_no_spaces_and_no_case() {
        assert_eq!(username(" Octo-Cat "), Ok("Octo-Cat".to_owned()));
        assert_eq!(username_key("Octo-Cat"), "octo-cat");
        assert_eq!(username("octo cat"), Err(TextError::WhiteSpace));
        assert_eq!(username(" "), Err(TextError::Missing));
    }
}
