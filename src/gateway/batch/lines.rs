//! Lines, cut from a body as it comes. Knows nothing of what stands on them.

use axum::body::Bytes;
use memchr::memchr;

use super::super::body::BODY_BYTES_MAX;
use super::super::body_memory::{FREE_BYTES, Growing};

/// The longest line, bytes: what the body of one record may be.
const LINE_BYTES_MAX: usize = BODY_BYTES_MAX;

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// What stands on it, without the space around.
    Text(Bytes),
    /// It is longer than a line may be, and was not kept.
    TooLong,
    /// There was no memory to keep it.
    NoRoom,
}

/// Cuts lines. It holds what came last, and at most one line that has not ended.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What came last, from the next line on.
    piece: Bytes,
    /// The beginning of a line that has not ended, from earlier pieces.
    begun: Growing,
    /// What the line that has not ended is already, if it is not kept.
    lost: Option<Line>,
    /// The number of the next line.
    next: u64,
    /// A line may be at hand.
    has_more: bool,
    has_ended: bool,
}

impl Lines {
    /// The number of the line that comes next, from 0.
    pub(super) fn next_index(&self) -> u64 {
        self.next
    }

    /// Whether a line may be at hand.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Whether a line that has not ended takes memory that others could have.
    pub(super) fn holds_much(&self) -> bool {
        self.begun.len() > FREE_BYTES
    }

    /// Takes what came.
    pub(super) fn push(&mut self, piece: Bytes) {
        let is_empty = self.piece.is_empty();
        self.piece = if is_empty { piece } else { [&self.piece[..], &piece].concat().into() };
        self.has_more = true;
    }

    /// There is no more: what stands behind the last line's end is a line as well.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
        self.has_more = true;
    }

    /// The next line that has come whole and is not blank, with its number.
    pub(super) fn next(&mut self) -> Option<(u64, Line)> {
        loop {
            let line = if let Some(at) = memchr(b'\n', &self.piece) {
                let text = self.piece.split_to(at);
                // Its end.
                drop(self.piece.split_to(1));
                self.complete(text)
            } else {
                let rest = std::mem::take(&mut self.piece);
                self.has_more = false;
                if !self.has_ended {
                    self.begin(&rest);
                    return None;
                }
                if rest.is_empty() && self.begun.len() == 0 && self.lost.is_none() {
                    return None;
                }
                self.complete(rest)
            };
            let index = self.next;
            self.next += 1;
            match line {
                Line::Text(text) if text.is_empty() => {}
                line => return Some((index, line)),
            }
        }
    }

    fn begin(&mut self, text: &[u8]) {
        if self.lost.is_some() {
            return;
        }
        if self.begun.len() + text.len() > LINE_BYTES_MAX {
            self.lost = Some(Line::TooLong);
        } else if self.begun.push(text).is_err() {
            self.lost = Some(Line::NoRoom);
        } else {
            return;
        }
        self.begun = Growing::default();
    }

    fn complete(&mut self, text: Bytes) -> Line {
        if self.begun.len() == 0 && self.lost.is_none() && text.len() <= LINE_BYTES_MAX {
            return Line::Text(trimmed(text));
        }
        self.begin(&text);
        let begun = std::mem::take(&mut self.begun);
        self.lost.take().unwrap_or_else(|| Line::Text(trimmed(begun.into_bytes())))
    }
}

fn trimmed(text: Bytes) -> Bytes {
    let inner = text.trim_ascii();
    if inner.len() == text.len() { text } else { text.slice_ref(inner) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of these pieces.
    fn cut(pieces: &[&[u8]]) -> Vec<(u64, String)> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        let mut drain = |lines: &mut Lines| {
            while let Some((index, line)) = lines.next() {
                let text = match line {
                    Line::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                    Line::TooLong => "too long".to_owned(),
                    Line::NoRoom => "no room".to_owned(),
                };
                all.push((index, text));
            }
        };
        for piece in pieces {
            lines.push(Bytes::copy_from_slice(piece));
            drain(&mut lines);
        }
        lines.end();
        drain(&mut lines);
        all
    }

    fn numbered(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines.iter().map(|(index, text)| (*index, (*text).to_owned())).collect()
    }

    #[test]
    fn wherever_the_pieces_are_cut_the_lines_are_the_same() {
        let text = b"a\r\n\n {\"b\": 1} \n\xc3\xa9\nlast";
        let expected = numbered(&[(0, "a"), (2, "{\"b\": 1}"), (3, "\u{e9}"), (4, "last")]);
        assert_eq!(cut(&[text]), expected);
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(cut(&[head, tail]), expected, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(cut(&bytes), expected);
    }

    #[test]
    fn a_piece_that_comes_too_early_pushes_nothing_out() {
        let mut lines = Lines::default();
        lines.push(Bytes::from_static(b"a\nb\nc"));
        assert_eq!(lines.next(), Some((0, Line::Text(Bytes::from_static(b"a")))));
        assert!(lines.has_more());
        lines.push(Bytes::from_static(b"d\n"));
        assert_eq!(lines.next(), Some((1, Line::Text(Bytes::from_static(b"b")))));
        assert_eq!(lines.next(), Some((2, Line::Text(Bytes::from_static(b"cd")))));
        assert_eq!((lines.next(), lines.has_more()), (None, false));
    }

    #[test]
    fn an_end_of_line_at_the_end_makes_no_further_line() {
        assert_eq!(cut(&[b"a\n"]), numbered(&[(0, "a")]));
        assert_eq!(cut(&[]), []);
        assert_eq!(cut(&[b"\n", b" \n"]), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept_and_the_next_one_is() {
        let longest = vec![b'x'; LINE_BYTES_MAX];
        let text = String::from_utf8(longest.clone()).unwrap();
        assert_eq!(cut(&[&longest, b"\nb"]), numbered(&[(0, &text), (1, "b")]));
        for pieces in [vec![&longest[..], b"x\nb"], vec![&longest[..], &longest, &longest, b"\nb"]]
        {
            assert_eq!(cut(&pieces), numbered(&[(0, "too long"), (1, "b")]));
        }
        let whole = [&longest[..], b"x"].concat();
        assert_eq!(cut(&[&whole]), numbered(&[(0, "too long")]));
    }
}
