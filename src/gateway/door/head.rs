//! The head of a request, looked at as bytes before hyper reads it: what two servers could read
//! in two ways is refused, so that a request hides no second one (request smuggling).
//!
//! hyper takes a bare LF for the end of a line, and where there are both lengths it takes one
//! of them. Both are within the standard, and both are what smuggling lives on. A byte that no
//! head may have is put where the fault is: hyper answers 400 to that, and ends the connection.

/// The largest head, bytes. hyper's own bound lets what comes in one read pass.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;
/// In place of the byte that is wrong.
const REFUSED: u8 = 0;
/// The longest name that counts here, and its colon.
const NAME_BYTES_MAX: usize = "transfer-encoding:".len();

/// Follows the lines of one head over however many reads it takes.
#[derive(Debug)]
pub(super) struct Head {
    /// The beginning of the line, as far as it tells its name.
    line: [u8; NAME_BYTES_MAX],
    line_bytes: usize,
    /// Those of the lines before it.
    bytes: usize,
    last: u8,
    /// Which of the lines that count have come.
    seen: [bool; 3],
    /// Its first line is there: empty ones before it are none.
    has_begun: bool,
    is_over: bool,
}

impl Head {
    pub(super) fn new() -> Self {
        Self {
            line: [0; NAME_BYTES_MAX],
            line_bytes: 0,
            bytes: 0,
            last: 0,
            seen: [false; 3],
            has_begun: false,
            is_over: false,
        }
    }

    /// Whether its last line has come, or it was made unreadable.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Looks at what was read; what is wrong in it is made unreadable.
    pub(super) fn look_at(&mut self, mut bytes: &mut [u8]) {
        while !self.is_over && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let length = end.map_or(bytes.len(), |end| end + 1);
            let (line, rest) = bytes.split_at_mut(length);
            self.look_at_line(line, end.is_some());
            bytes = rest;
        }
    }

    /// A line, or as much of it as is there.
    fn look_at_line(&mut self, part: &mut [u8], is_whole: bool) {
        let content = part.len() - usize::from(is_whole);
        self.remember(part.get(..content).unwrap_or_default());
        self.line_bytes += content;
        let before_end = match content.checked_sub(1).and_then(|at| part.get(at)) {
            Some(byte) => *byte,
            None => self.last,
        };
        self.last = before_end;
        let is_too_large = self.bytes + self.line_bytes > HEAD_BYTES_MAX;
        if !is_whole && !is_too_large {
            return;
        }
        self.bytes += self.line_bytes;
        let is_faulty = is_too_large || before_end != b'\r' || self.is_second();
        let is_empty = self.line_bytes <= 1;
        self.is_over = is_empty && self.has_begun;
        self.has_begun |= !is_empty;
        (self.line_bytes, self.last) = (0, 0);
        if is_faulty && let Some(byte) = part.last_mut() {
            *byte = REFUSED;
            self.is_over = true;
        }
    }

    /// Keeps of the line what tells its name.
    fn remember(&mut self, part: &[u8]) {
        let room = self.line.get_mut(self.line_bytes..).unwrap_or_default();
        let length = room.len().min(part.len());
        if let (Some(room), Some(part)) = (room.get_mut(..length), part.get(..length)) {
            room.copy_from_slice(part);
            room.make_ascii_lowercase();
        }
    }

    /// Whether this line and one before it could be read in two ways.
    fn is_second(&mut self) -> bool {
        let name = self.line.get(..self.line_bytes.min(NAME_BYTES_MAX)).unwrap_or_default();
        let [length, coding, host] = &mut self.seen;
        if name.starts_with(b"content-length:") {
            std::mem::replace(length, true) || *coding
        } else if name.starts_with(b"transfer-encoding:") {
            std::mem::replace(coding, true) || *length
        } else if name.starts_with(b"host:") {
            std::mem::replace(host, true)
        } else {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of the bytes when they are read in parts of this size.
    fn seen(text: &str, part_bytes: usize) -> Vec<u8> {
        let mut head = Head::new();
        let mut bytes = text.as_bytes().to_vec();
        bytes.chunks_mut(part_bytes).for_each(|part| head.look_at(part));
        bytes
    }

    #[test]
    fn a_sound_head_is_left_as_it_is_and_its_body_too() {
        let heads = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 4\r\nX: content-length\r\n\r\n\n\n\n\n",
            "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n",
        ];
        for text in heads {
            for part_bytes in 1..=text.len() {
                assert_eq!(seen(text, part_bytes), text.as_bytes(), "{text:?} by {part_bytes}");
            }
        }
    }

    #[test]
    fn a_head_without_an_end_is_made_unreadable() {
        for line in ["X: a\r\n".to_owned(), "a".repeat(1_000)] {
            let text = format!("GET / HTTP/1.1\r\n{}", line.repeat(HEAD_BYTES_MAX / 4));
            assert!(seen(&text, 4 << 10).contains(&REFUSED));
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_made_unreadable_however_it_comes() {
        let heads = [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\n\nGET /admin HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nhOsT: b\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING:chunked\r\nContent-Length: 4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
            "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        ];
        for text in heads {
            for part_bytes in 1..=text.len() {
                let seen = seen(text, part_bytes);
                assert!(seen.contains(&REFUSED), "{text:?} by {part_bytes}");
            }
        }
    }
}
