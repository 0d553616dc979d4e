//! What the bodies of requests may take of the memory, all together. Small ones are bounded by
//! how many requests there are; each large one asks here before it grows.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::body::Bytes;

/// Bytes that a body has without asking: more than nearly every payload.
pub(super) const FREE_BYTES: usize = 16 << 10;
/// Bytes of all that are larger: a good many of the largest. One for the process, since that is
/// what has the memory.
pub(super) static BODIES: Pool = Pool::of(48 << 20);
/// Bytes of what was unpacked that decoders keep, to unpack what follows. A long body of zstd at its
/// usual level takes 2 MiB, any at most 8 MiB.
pub(super) static WINDOWS: Pool = Pool::of(64 << 20);

/// Memory that many ask for.
#[derive(Debug)]
pub(super) struct Pool {
    bytes_max: usize,
    taken: AtomicUsize,
}

impl Pool {
    const fn of(bytes_max: usize) -> Self {
        Self { bytes_max, taken: AtomicUsize::new(0) }
    }
}

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Growing {
    bytes: Vec<u8>,
    out_of: &'static Pool,
    reserved: Option<Reserved>,
}

impl Default for Growing {
    fn default() -> Self {
        Self::of(0)
    }
}

/// What was taken of a pool, until it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    of: &'static Pool,
    bytes: usize,
}

/// There is no memory for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Growing {
    /// One that is said to become so large. Nothing is taken on a client's word but what it may
    /// have without asking.
    pub(super) fn of(declared_bytes: usize) -> Self {
        let bytes = Vec::with_capacity(declared_bytes.min(FREE_BYTES));
        Self { bytes, out_of: &BODIES, reserved: None }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes a further part.
    pub(super) fn push(&mut self, part: &[u8]) -> Result<(), NoRoom> {
        let needed = self.bytes.len() + part.len();
        if needed > self.bytes.capacity() {
            // Twice as much each time, as a Vec has it: it is copied seldom.
            let capacity = needed.max(self.bytes.capacity() * 2);
            if needed > FREE_BYTES {
                self.reserved.get_or_insert(Reserved::none_of(self.out_of)).grow_to(capacity)?;
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// The whole body. What it took is given back with its last clone.
    pub(super) fn into_bytes(self) -> Bytes {
        if self.reserved.is_none() { Bytes::from(self.bytes) } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for Growing {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Reserved {
    pub(super) fn none_of(of: &'static Pool) -> Self {
        Self { of, bytes: 0 }
    }

    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self.of.taken.fetch_add(more, Relaxed) + more;
        self.bytes += more;
        if taken <= self.of.bytes_max { Ok(()) } else { Err(NoRoom) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests take of that of the process.
    static OURS: Pool = Pool::of(48 << 20);

    #[test]
    fn large_bodies_have_a_bound_together_and_give_back_what_they_took() {
        let mebibyte = vec![b'a'; 1 << 20];
        let read = || {
            let mut body = Growing { out_of: &OURS, ..Growing::of(usize::MAX) };
            mebibyte.chunks(10_000).try_for_each(|part| body.push(part)).map(|()| body.into_bytes())
        };
        let bodies: Vec<Bytes> = std::iter::from_fn(|| read().ok()).collect();
        assert!((20..=48).contains(&bodies.len()), "{}", bodies.len());
        assert!(bodies.iter().all(|body| body == &mebibyte));
        let mut small = Growing::of(5);
        small.push(b"small").unwrap();
        assert_eq!(small.into_bytes(), "small");
        drop(bodies);
        assert_eq!(OURS.taken.load(Relaxed), 0);
        assert!(read().is_ok());
    }
}
