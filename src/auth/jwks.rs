//! An issuer's keys behind a URL: read at the start and again by age, and at once when a token
//! names a key that is not known.
//!
//! One task reads, whoever asks; requests wait for what it finds. Keys are used until a later set
//! replaces them, and at most for `max_age` after they were read: an issuer that is away can take
//! none back. A check reads them without a lock.
//!
//! *A key that is not known.* Anybody can make up names of keys, so between two readings there is a
//! cool-down, which doubles while readings find nothing new. A request waits for a reading that
//! has begun after it came, so that a token of a key which was just made is never refused, unless
//! the cool-down has grown that long.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::key_set::{KeySet, NoSet};
use super::memory::Memory;
use crate::domain::clock::{SharedClock, millis};
use crate::outbound::{Client, Get, SendError, TargetUrl};

/// How long a reading may take. What is slower is away.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document, bytes: those with certificates in them have 20 KiB.
const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// The cool-down after a reading: short, since a token of a new key waits for its end.
const COOL_DOWN_MIN: Duration = Duration::from_secs(1);
/// And after several that found nothing new: two readings a minute are no burden to an issuer.
const COOL_DOWN_MAX: Duration = Duration::from_secs(30);
/// How long a request waits for the end of a cool-down. That is the first two of them, so that
/// who makes names up seldom holds a connection.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// The longest pause after readings that failed: an issuer that is back is noticed.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// No set was read yet.
const NEVER: i64 = i64::MIN;

/// Where an issuer's keys are, and how they are kept.
#[derive(Clone)]
pub struct JwksSettings {
    /// The document.
    pub url: TargetUrl,
    /// What reads it.
    pub client: Client,
    /// The age at which they are read again.
    pub refresh: Duration,
    /// The age from which they are not used any more.
    pub max_age: Duration,
}

/// Why there is no newer set.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the answer was {0}, which leads elsewhere: redirects are not followed")]
    Redirect(u16),
    #[error("the answer was {0}")]
    Status(u16),
    #[error("the answer broke off, took too long or has more than {DOCUMENT_BYTES_MAX} bytes")]
    Cut,
    #[error(transparent)]
    NoSet(#[from] NoSet),
}

/// What a second look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// What was looked for.
    Found,
    /// The issuer does not have it.
    NotThere,
    /// The issuer could not be asked.
    Away,
}

/// How far the readings are.
#[derive(Debug, Clone, Copy)]
struct Readings {
    begun: u64,
    ended: u64,
    last_failed: bool,
    /// None begins before.
    next: Instant,
}

/// The keys.
pub(super) struct Jwks {
    settings: JwksSettings,
    max_age_ms: i64,
    clock: SharedClock,
    keys: ArcSwap<KeySet>,
    /// When the keys were asked for, milliseconds since the epoch.
    read_at_ms: AtomicI64,
    readings: watch::Sender<Readings>,
    /// The number of the reading that somebody waits for.
    wanted: AtomicU64,
    bell: Notify,
}

impl Jwks {
    pub(super) fn new(settings: JwksSettings, clock: SharedClock) -> Self {
        let next = Instant::now();
        Self {
            max_age_ms: millis(settings.max_age),
            settings,
            clock,
            keys: ArcSwap::from_pointee(KeySet::default()),
            read_at_ms: AtomicI64::new(NEVER),
            readings: watch::Sender::new(Readings { begun: 0, ended: 0, last_failed: false, next }),
            wanted: AtomicU64::new(0),
            bell: Notify::new(),
        }
    }

    /// Whether there are keys that may be used now.
    pub(super) fn is_usable(&self, now_ms: i64) -> bool {
        let read_at_ms = self.read_at_ms.load(Ordering::Acquire);
        read_at_ms != NEVER && now_ms.saturating_sub(read_at_ms) < self.max_age_ms
    }

    /// The keys that may be used now.
    pub(super) fn keys(&self, now_ms: i64) -> Option<Guard<Arc<KeySet>>> {
        self.is_usable(now_ms).then(|| self.keys.load())
    }

    /// Waits until the first reading has ended, however.
    pub(super) async fn first_reading(&self) {
        let mut readings = self.readings.subscribe();
        let has_ended = readings.wait_for(|readings| readings.ended > 0);
        tokio::time::timeout(READ_TIMEOUT, has_ended).await.ok();
    }

    /// Looks whether the issuer has something by now that it had not.
    pub(super) async fn look_again(&self, is_found: impl Fn() -> bool) -> Looked {
        let mut readings = self.readings.subscribe();
        // What has begun already may have been answered before the key was there.
        let needed = readings.borrow_and_update().begun + 1;
        let end = Instant::now() + WAIT_MAX + READ_TIMEOUT;
        loop {
            if is_found() {
                return Looked::Found;
            }
            let Readings { begun, ended, last_failed, next } = *readings.borrow_and_update();
            let is_too_far = next.saturating_duration_since(Instant::now()) > WAIT_MAX;
            if ended >= needed || (begun == ended && is_too_far) {
                return if last_failed { Looked::Away } else { Looked::NotThere };
            }
            if begun < needed {
                self.wanted.fetch_max(needed, Ordering::AcqRel);
                self.bell.notify_one();
            }
            match tokio::time::timeout_at(end, readings.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Looked::Away,
            }
        }
    }

    /// Reads the keys, now and whenever it is time, until the stop.
    pub(super) async fn keep(self: Arc<Self>, memory: Arc<Memory>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.read_for_ever(&memory) => {}
        }
    }

    async fn read_for_ever(&self, memory: &Memory) {
        let mut cool_down = COOL_DOWN_MIN;
        let mut failures: u32 = 0;
        let mut is_wanted = false;
        let mut begun: u64 = 0;
        loop {
            begun += 1;
            self.readings.send_modify(|readings| readings.begun = begun);
            let asked_at_ms = self.clock.now_ms();
            let read = self.read().await;
            let now = Instant::now();
            let (next, by_age) = match read {
                Ok(set) => {
                    let is_new = self.publish(set, asked_at_ms, memory, failures);
                    failures = 0;
                    let is_in_vain = is_wanted && !is_new;
                    cool_down =
                        if is_in_vain { (cool_down * 2).min(COOL_DOWN_MAX) } else { COOL_DOWN_MIN };
                    (now + cool_down, now + self.settings.refresh.max(cool_down))
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.warn(&error, failures);
                    let pause = COOL_DOWN_MIN.saturating_mul(1 << failures.min(8)) / 2;
                    let next = now + pause.min(RETRY_MAX);
                    (next, next)
                }
            };
            let last_failed = failures > 0;
            self.readings.send_replace(Readings { begun, ended: begun, last_failed, next });
            let wanted = async {
                while self.wanted.load(Ordering::Acquire) <= begun {
                    self.bell.notified().await;
                }
                let asked_for = Instant::now();
                tokio::time::sleep_until(next).await;
                asked_for
            };
            is_wanted = tokio::select! {
                () = tokio::time::sleep_until(by_age) => false,
                asked_for = wanted => {
                    // It was quiet for long: this is no flood of names.
                    if asked_for.saturating_duration_since(next) > COOL_DOWN_MAX {
                        cool_down = COOL_DOWN_MIN;
                    }
                    true
                }
            };
        }
    }

    async fn read(&self) -> Result<KeySet, ReadError> {
        let answer = self
            .settings
            .client
            .get(&Get {
                url: &self.settings.url,
                accept: "application/jwk-set+json, application/json",
                timeout: READ_TIMEOUT,
                answer_bytes_max: DOCUMENT_BYTES_MAX,
            })
            .await?;
        match answer.status {
            200 if answer.is_whole => Ok(KeySet::read(&answer.body)?),
            200 => Err(ReadError::Cut),
            status @ 300..=399 => Err(ReadError::Redirect(status)),
            status => Err(ReadError::Status(status)),
        }
    }

    /// Uses this set from now on; whether it has other keys.
    fn publish(&self, set: KeySet, asked_at_ms: i64, memory: &Memory, failures: u32) -> bool {
        let host = self.settings.url.host();
        let is_first = self.read_at_ms.load(Ordering::Acquire) == NEVER;
        let is_new = is_first || !set.is_same(&self.keys.load());
        if is_new {
            tracing::info!(host, keys = set.len(), "the keys of an issuer were read");
            for said in &set.passed_over {
                tracing::warn!(host, "of an issuer's keys one is passed over: {said}");
            }
            if set.len() == 0 {
                tracing::warn!(host, "an issuer has no key that is of use: its tokens are refused");
            }
            self.keys.store(Arc::new(set));
            memory.empty();
        } else if failures > 0 {
            tracing::info!(host, "the keys of an issuer can be read again");
        }
        self.read_at_ms.store(asked_at_ms, Ordering::Release);
        is_new
    }

    fn warn(&self, error: &ReadError, failures: u32) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let cause = cause.as_deref().unwrap_or_default();
        let host = self.settings.url.host();
        let has_keys = self.is_usable(self.clock.now_ms());
        tracing::warn!(%error, cause, host, failures, has_keys, "an issuer's keys cannot be read");
    }

    /// Reads the keys once: how many there are, and why others are passed over.
    pub(super) async fn probe(&self) -> Result<(usize, Vec<String>), ReadError> {
        self.read().await.map(|set| (set.len(), set.passed_over))
    }
}

#[cfg(test)]
#[path = "jwks_test.rs"]
mod tests;
