//! Whether the part of an address before the `@` looks as if a machine had drawn it.
//!
//! A weak sign, since names of the world's languages, initials and old handles look like much;
//! so it asks for a long word, and speaks of nothing that is only unusual.

/// Shorter words are as well initials, or a name with a year.
const WORD_CHARS_MIN: usize = 10;
/// A handle may change between letters and digits this often less one (`2pac4ever` does 3 times).
const CHANGES_MIN: usize = 4;
/// Of so many letters at most one is a vowel.
const LETTERS_PER_VOWEL: usize = 7;

/// Whether a word of it looks drawn.
pub(super) fn looks_drawn(local: &str) -> bool {
    let lower = local.to_lowercase();
    let name = lower.split('+').next().unwrap_or_default();
    name.split(['.', '_', '-']).any(is_drawn)
}

fn is_drawn(word: &str) -> bool {
    // Of other scripts nothing is known here.
    if !word.is_ascii() || word.len() < WORD_CHARS_MIN {
        return false;
    }
    let bytes = word.as_bytes();
    let changes = bytes
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a.is_ascii_digit() != b.is_ascii_digit()))
        .count();
    let letters = bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let vowels = bytes.iter().filter(|byte| b"aeiouy".contains(byte)).count();
    let hardly_speakable = letters >= WORD_CHARS_MIN && vowels * LETTERS_PER_VOWEL < letters;
    changes >= CHANGES_MIN || hardly_speakable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_draws_is_seen() {
        for local in ["k3j9x2qa7w", "xkqzrwtpvb", "qw8ert7yui3op", "a.bcdfghjklmnp", "h4x0r9z1q8m"]
        {
            assert!(looks_drawn(local), "{local}");
        }
    }

    #[test]
    fn names_of_many_countries_are_names() {
        for local in [
            "grzegorz.brzeczyszczykiewicz",
            "krzysztofszczepanski",
            "zmrzlik.strc",
            "mchedlishvili",
            "gvritishvili99",
            "llywelyn.apgruffydd",
            "nguyenthithuhuong",
            "zhangxiaoxia1988",
            "xuzhongshu",
            "schwarzschmidt",
            "bjornthorvaldsson",
            "srinivasanvenkatraghavan",
            "oluwaseun.adebayo",
            "ndlovu.thamsanqa",
            "hrvojekrstulovic",
            "j.r.smith-jones",
            "13800138000",
            "1234567890123",
            "maria1990",
            "2pac4ever",
            "jsmith.contact2024",
            "ada+k3j9x2qa7w",
            "пётр.сидоров",
        ] {
            assert!(!looks_drawn(local), "{local}");
        }
    }
}
