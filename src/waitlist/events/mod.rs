//! The payloads of the events. Unknown fields are faults; `metadata` is the place for extras.

pub mod referral_created;
pub mod reward_earned;
pub mod user_signup;
pub mod user_verified;
