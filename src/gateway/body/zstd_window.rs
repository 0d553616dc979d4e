//! How much of what it has unpacked a stream of zstd asks to be kept, by its first bytes (RFC 8878,
//! 3.1.1). Knows no body and no memory.

/// How much a stream may ask for, as a power of two: 8 MiB, what RFC 9659 lets a sender count on.
/// The library itself would give sixteen times as much.
const LOG_MAX: u32 = 23;
/// What every frame of a stream may ask for, however its first one begins: 2 MiB, as the usual
/// levels do.
const LOG_MIN: u32 = 21;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Of the byte behind that: the frame is one segment, and says no window.
const IS_SINGLE_SEGMENT: u8 = 0x20;

/// What the frames of a stream that begins so may ask for, as a power of two.
pub(super) fn log(beginning: &[u8]) -> u32 {
    match beginning.strip_prefix(&MAGIC) {
        Some([descriptor, window, ..]) if descriptor & IS_SINGLE_SEGMENT == 0 => {
            let (exponent, mantissa) = (u32::from(window >> 3), u32::from(window & 7));
            let log = 10 + exponent + u32::from(mantissa > 0);
            log.clamp(LOG_MIN, LOG_MAX)
        }
        // One segment is as large as what comes out of it; of what is cut off here, or no frame,
        // nothing is known.
        _ => LOG_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_ask_for_what_its_first_frame_does_within_bounds() {
        let of = |descriptor: u8, window: u8| log(&[&MAGIC[..], &[descriptor, window]].concat());
        assert_eq!(of(0, 11 << 3), 21);
        assert_eq!(of(0, 2 << 3), LOG_MIN);
        assert_eq!(of(0, 12 << 3), 22);
        assert_eq!(of(0, (11 << 3) + 1), 22);
        assert_eq!(of(0, 31 << 3), LOG_MAX);
        assert_eq!(of(IS_SINGLE_SEGMENT, 0), LOG_MAX);
        for beginning in [&b""[..], &MAGIC, b"PK\x03\x04 and more"] {
            assert_eq!(log(beginning), LOG_MAX);
        }
    }
}
