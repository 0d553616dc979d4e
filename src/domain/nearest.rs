//! The name that was probably meant, where one is not known.
//!
//! Knows nothing of what the names are of.

/// Longer names are not compared with the known ones: the comparison is quadratic.
const MAX_COMPARED_CHARS: usize = 64;

/// The known name that was probably meant: the same but for case and separators, or one
/// or two letters away.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > MAX_COMPARED_CHARS {
        return None;
    }
    let plain = |name: &str| -> Vec<char> {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let wanted = plain(name);
    // A third of the letters: "id" is not a misspelt "at".
    let tolerance = (wanted.len() / 3).min(2);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_COMPARED_CHARS)
        .map(|candidate| (distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = i + 1;
        next.push(left);
        for ((y, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            left = (above_left + usize::from(x != y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["attempts", "first", "secret_env", "id"];
        for (name, meant) in [
            ("atempts", Some("attempts")),
            ("secretEnv", Some("secret_env")),
            ("First", Some("first")),
            ("at", None),
            ("something", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
    }
}
