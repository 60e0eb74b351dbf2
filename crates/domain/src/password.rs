//! Which passwords may be set (NIST SP 800-63B-4 §3.1.1): long enough, not on a list of common
//! ones, not the person's own address; nothing else. No rules about kinds of characters.

use unicode_normalization::UnicodeNormalization;

use crate::email::EmailAddress;
use crate::secret::Secret;

/// The least characters of a password.
pub const PASSWORD_LENGTH_MIN: usize = 15;
/// The most bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// A local part shorter than this says nothing when it stands in a password.
const LOCAL_PART_LENGTH_MIN: usize = 3;
/// Letters and digits fewer than this, among other signs, are no pattern.
const PATTERN_LENGTH_MIN: usize = 8;

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("the password has fewer than {PASSWORD_LENGTH_MIN} characters")]
    TooShort,
    #[error("the password has more than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("the password is one of those that are tried first; choose another")]
    TooCommon,
    #[error("the password contains the email address's own name")]
    ContainsEmail,
}

/// A password in the form that is hashed: NFC, so that two keyboards spell it alike.
pub fn normalise(password: &str) -> Secret<String> {
    Secret::new(password.nfc().collect())
}

/// A new password for the owner of an address.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_new(password: &str, email: Option<&EmailAddress>) -> Result<Secret<String>, PasswordError> {
    let normal = normalise(password);
    let text = normal.expose();
    if text.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::TooLong);
    }
    if text.chars().count() < PASSWORD_LENGTH_MIN {
        return Err(PasswordError::TooShort);
    }
    let lower = text.to_lowercase();
    if is_common(&lower) {
        return Err(PasswordError::TooCommon);
    }
    let local = email.map(|email| email.local_part().to_lowercase()).unwrap_or_default();
    if local.chars().count() >= LOCAL_PART_LENGTH_MIN && lower.contains(&local) {
        return Err(PasswordError::ContainsEmail);
    }
    Ok(normal)
}

/// Long passwords that guessers try first are short ones stretched: a word or a run of keys,
/// repeated, counted up, or put together. So that is what is recognised, instead of a long list that
/// hardly holds any of fifteen characters.
fn is_common(lower: &str) -> bool {
    let plain: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
    let unleet: String = lower.chars().map(unleet).filter(|c| c.is_alphanumeric()).collect();
    let made_of_words = is_made_of_words(&plain) || is_made_of_words(&unleet);
    let is_pattern = |text: &str| is_repetition(text) || is_run(text);
    let hides_pattern = plain.chars().count() >= PATTERN_LENGTH_MIN && is_pattern(&plain);
    COMMON.contains(&lower) || is_pattern(lower) || hides_pattern || made_of_words
}

fn unleet(c: char) -> char {
    match c {
        '@' => 'a',
        '$' => 's',
        '!' => 'i',
        other => other,
    }
}

/// A unit of at most seven characters over and over, the last perhaps cut off.
fn is_repetition(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=7).any(|unit| chars.len() > 2 * unit && chars.iter().enumerate().all(|(i, c)| *c == chars[i % unit]))
}

/// Keys in a row, or characters that count up or down.
fn is_run(text: &str) -> bool {
    const ROWS: [&str; 5] = [
        "1234567890-=qwertyuiop[]asdfghjkl;'zxcvbnm,./",
        "qwertyuiopasdfghjklzxcvbnm",
        "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "012345678901234567890123456789",
    ];
    let backwards: String = text.chars().rev().collect();
    if ROWS.iter().any(|row| row.contains(text) || row.contains(&backwards)) {
        return true;
    }
    let steps = |by: i32| text.chars().zip(text.chars().skip(1)).all(|(a, b)| b as i32 - a as i32 == by);
    steps(1) || steps(-1)
}

/// Nothing but common words, with digits around them.
fn is_made_of_words(text: &str) -> bool {
    let text = text.trim_matches(|c: char| c.is_ascii_digit());
    if text.is_empty() {
        // No letters, so no words; a kind of characters is neither wanted nor refused.
        return false;
    }
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for start in 0..text.len() {
        if reached[start] {
            for word in WORDS.iter().filter(|word| text[start..].starts_with(**word)) {
                reached[start + word.len()] = true;
            }
        }
    }
    reached[text.len()]
}

/// Phrases that everybody knows.
const COMMON: [&str; 12] = [
    "correcthorsebatterystaple",
    "correct horse battery staple",
    "correct-horse-battery-staple",
    "thequickbrownfox",
    "the quick brown fox",
    "thequickbrownfoxjumpsoverthelazydog",
    "maytheforcebewithyou",
    "may the force be with you",
    "tobeornottobethatisthequestion",
    "to be or not to be",
    "iloveyousomuch",
    "letmeinletmein1",
];

/// What common passwords are put together from.
const WORDS: [&str; 64] = [
    "password",
    "passwort",
    "passw0rd",
    "pass",
    "word",
    "secret",
    "welcome",
    "willkommen",
    "letmein",
    "login",
    "admin",
    "administrator",
    "root",
    "user",
    "test",
    "testing",
    "guest",
    "default",
    "change",
    "changeme",
    "me",
    "qwerty",
    "qwertz",
    "azerty",
    "asdf",
    "zxcv",
    "abc",
    "abcd",
    "iloveyou",
    "love",
    "you",
    "monkey",
    "dragon",
    "master",
    "shadow",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "superman",
    "batman",
    "hello",
    "world",
    "summer",
    "winter",
    "spring",
    "autumn",
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "company",
    "service",
    "account",
    "the",
    "my",
    "is",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), PasswordError> {
        let email = EmailAddress::parse("alice.miller@acme.test").unwrap();
        check_new(password, Some(&email)).map(drop)
    }

    #[test]
    fn length_counts_in_characters_and_ends_in_bytes() {
        assert_eq!(check("vierzehn-zeich"), Err(PasswordError::TooShort));
        assert_eq!(check("fünfzehn-zeichä"), Ok(()));
        assert_eq!(check(&"xy7-".repeat(300)), Err(PasswordError::TooLong));
        assert_eq!(check("gravel orbit lantern 🦉"), Ok(()));
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        for common in [
            "passwordpassword",
            "Password1234567890",
            "P@ssword123456789",
            "aaaaaaaaaaaaaaa",
            "abcabcabcabcabcabc",
            "123456789012345",
            "987654321098765",
            "123-456-789-012-345",
            "2026 2026 2026 2026",
            "qwertyuiopasdfgh",
            "1qaz2wsx3edc4rfv",
            "abcdefghijklmnop",
            "Welcome-Admin-2026!",
            "letmeinletmein12",
            "Correct horse battery staple",
        ] {
            assert_eq!(check(common), Err(PasswordError::TooCommon), "{common}");
        }
        // No kind of characters is wanted, and none is refused.
        for fine in [
            "gravel orbit lantern",
            "9f2-kk0-zelda-moss",
            "passwords are a bad idea",
            "🦉🐢🚲🌧🍐🎻🧦🪁🛶🥨🌵🐙🎈🧊🪐",
            "*}|,^~\\?&'(;#[_]:%",
            "83150927461720395184",
            "+-ab/=%_#?(&;]{<:",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn the_address_does_not_help() {
        assert_eq!(check("xx Alice.Miller xx 77"), Err(PasswordError::ContainsEmail));
        let of =
            |email| check_new("bob likes blue whales", Some(&EmailAddress::parse(email).unwrap())).map(drop);
        assert_eq!(of("bob@acme.test"), Err(PasswordError::ContainsEmail));
        // Two letters stand in every other sentence.
        assert_eq!(of("bo@acme.test"), Ok(()));
    }

    #[test]
    fn two_spellings_of_one_character_are_one_password() {
        assert_eq!(normalise("cafe\u{301}").expose(), normalise("caf\u{e9}").expose());
    }
}
