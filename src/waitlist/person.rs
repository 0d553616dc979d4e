//! A user's name as a mail may show it. Whoever filled in the form wrote it, and the mail goes to
//! an address that nobody has confirmed yet: it must not carry a stranger's message.

/// Longest name in characters: longer than most people's, shorter than a message.
const NAME_CHARS_MAX: usize = 60;

/// The name, in one line without characters that turn the text around, and cut where it is too
/// long. None if nothing is left of it, or if it holds what a mail client makes a link of.
pub(super) fn shown_name(name: &str) -> Option<String> {
    let words = name.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<String> = words
        .map(|word| word.chars().filter(|c| !turns_text(*c)).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    (!line.is_empty() && !is_link(&line)).then(|| cut(&line))
}

/// Marks that would turn the direction of what follows the name.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// An address of the web or of mail, as mail clients find them in text: `a://`, `www.`, an `@`,
/// or a dot within a word before two letters or more.
fn is_link(line: &str) -> bool {
    let lower = line.to_lowercase();
    let names_host = |(at, _): (usize, &str)| {
        let before = lower.get(..at).and_then(|text| text.chars().next_back());
        let after = lower.get(at + 1..).unwrap_or_default();
        before.is_some_and(char::is_alphanumeric)
            && after.chars().take_while(|c| c.is_alphanumeric()).count() >= 2
    };
    lower.contains("://")
        || lower.contains("www.")
        || lower.contains('@')
        || lower.match_indices('.').any(names_host)
}

/// Cut at a space where there is one, else between two characters.
fn cut(line: &str) -> String {
    let Some((end, _)) = line.char_indices().nth(NAME_CHARS_MAX) else { return line.to_owned() };
    let head = line.get(..end).unwrap_or(line);
    let head = match head.rfind(' ') {
        Some(space) => head.get(..space).unwrap_or(head),
        // Not in the middle of a composed emoji: without its joiner the rest stands by itself.
        None => head.trim_end_matches(['\u{200D}', '\u{FE0F}']),
    };
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_the_world_stay_as_they_are() {
        for name in [
            "Ada",
            "Zoë O'Neill-Łuczak",
            "J. R. R.",
            "J.R.",
            "محمد",
            "דוד בן־גוריון",
            "山田 太郎",
            "👩‍👩‍👧",
            "नरेंद्र",
            "<b>Tom & Jerry</b>",
        ] {
            assert_eq!(shown_name(name).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_name_is_one_line_that_turns_nothing_around() {
        assert_eq!(shown_name(" Ada\r\n\t Lovelace\0 ").as_deref(), Some("Ada Lovelace"));
        assert_eq!(shown_name("\u{202E}adA\u{2066}").as_deref(), Some("adA"));
        assert_eq!(shown_name("\u{2028}\u{202E} "), None);
    }

    #[test]
    fn a_message_in_place_of_a_name_is_left_out() {
        for name in [
            "You won! http://evil.example",
            "see WWW.evil",
            "evil.example",
            "Claim at evil.example/x now",
            "mail me@evil",
        ] {
            assert_eq!(shown_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let words = shown_name(&"Anna ".repeat(40)).unwrap();
        assert_eq!(words, format!("{}…", ["Anna"; 12].join(" ")));
        let one = shown_name(&"é".repeat(200)).unwrap();
        assert_eq!(one.chars().count(), NAME_CHARS_MAX + 1);
        let joined = shown_name(&"👩\u{200D}".repeat(100)).unwrap();
        assert!(!joined.contains("\u{200D}…"), "{joined}");
    }
}
