//! One file for each endpoint: request, response, handler, in that order.

pub(super) mod discard_dead_letter;
pub(super) mod enqueue_job;
pub(super) mod get_catalog;
pub(super) mod get_dead_letter;
pub(super) mod health;
pub(super) mod list_dead_letters;
pub(super) mod publish_event;
pub(super) mod rebuild_dead_letter_index;
pub(super) mod replay_dead_letter;
pub(super) mod validate_payload;

mod letter;
mod produce;
