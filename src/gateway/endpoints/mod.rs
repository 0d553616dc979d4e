//! One file for each endpoint: request, response, handler, in that order.

pub(super) mod add_partitions;
pub(super) mod cancel_replay;
pub(super) mod cancel_scheduled_job;
pub(super) mod discard_dead_letter;
pub(super) mod enqueue_batch;
pub(super) mod enqueue_job;
pub(super) mod get_catalog;
pub(super) mod get_dead_letter;
pub(super) mod get_job_status;
pub(super) mod get_lag;
pub(super) mod get_metrics;
pub(super) mod get_replay;
pub(super) mod get_scheduled_job;
pub(super) mod get_stats;
pub(super) mod get_topics;
mod head;
pub(super) mod health;
pub(super) mod list_audit;
pub(super) mod list_dead_letters;
pub(super) mod list_quarantines;
pub(super) mod list_replays;
pub(super) mod list_workers;
pub(super) mod pause_type;
pub(super) mod publish_batch;
pub(super) mod publish_event;
pub(super) mod rebuild_dead_letter_index;
pub(super) mod release_quarantine;
pub(super) mod replay_dead_letter;
pub(super) mod reset_offsets;
pub(super) mod start_replay;
pub(super) mod validate_payload;

pub(super) mod later;
pub(super) mod produce;

mod edge;
mod keyed;
mod letter;
mod page;
mod paused;
mod prefer;
mod quarantine;
mod reason;
mod replay;
