//! Ids and times of the payloads' examples: the same campaign and user in each, so that
//! the documents tell one story.

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub(super) const CAMPAIGN: Uuid = Uuid::from_u128(0x018f_2c9e_7b1a_7c3d_9e4f_5a6b_7c8d_9e0f);
pub(super) const USER: Uuid = Uuid::from_u128(0x018f_2c9e_8d2b_7a4e_8f50_6b7c_8d9e_0f1a);
pub(super) const REFERRED: Uuid = Uuid::from_u128(0x018f_2c9e_9e3c_7b5f_9061_7c8d_9e0f_1a2b);
pub(super) const REWARD: Uuid = Uuid::from_u128(0x018f_2c9e_af4d_7c60_a172_8d9e_0f1a_2b3c);
pub(super) const USER_REWARD: Uuid = Uuid::from_u128(0x018f_2c9e_b05e_7d71_b283_9e0f_1a2b_3c4d);
pub(super) const WEBHOOK: Uuid = Uuid::from_u128(0x018f_2c9e_c16f_7e82_8394_0f1a_2b3c_4d5e);

/// 2025-01-01T00:00:00Z and so many hours.
pub(super) fn hours_into_2025(hours: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos((1_735_689_600 + hours * 3_600) * 1_000_000_000)
}
