//! Commits of a group's offsets, with their notes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::context::Context;
use super::event::Commit;
use crate::domain::dispatch::PartitionId;

/// What was committed of a partition; none where nothing was.
pub(in crate::kafka) fn commit_of(
    element: &TopicPartitionListElem<'_>,
) -> Option<(PartitionId, Commit)> {
    let Offset::Offset(offset) = element.offset() else { return None };
    // Any client of the group may have written it, and rdkafka panics where it is not UTF-8.
    let note = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()));
    Some((id_of(element), Commit { offset, note: note.unwrap_or_default() }))
}

pub(super) fn id_of(element: &TopicPartitionListElem<'_>) -> PartitionId {
    PartitionId { topic: element.topic().into(), partition: element.partition() }
}

/// Commits with the notes; without them where they are longer than this cluster keeps.
pub(super) fn commit_now(
    consumer: &BaseConsumer<Context>,
    commits: &[(PartitionId, Commit)],
) -> Result<(), KafkaError> {
    if commits.is_empty() {
        return Ok(());
    }
    let result = consumer.commit(&commit_list(commits, true)?, CommitMode::Sync);
    match result {
        Err(error) if error.rdkafka_error_code() == Some(Code::OffsetMetadataTooLarge) => {
            tracing::debug!(%error, "committed without notes");
            consumer.commit(&commit_list(commits, false)?, CommitMode::Sync)
        }
        result => result,
    }
}

fn commit_list(
    commits: &[(PartitionId, Commit)],
    has_notes: bool,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for (id, commit) in commits {
        list.add_partition_offset(&id.topic, id.partition, Offset::Offset(commit.offset))?;
        if has_notes
            && !commit.note.is_empty()
            && let Some(mut element) = list.find_partition(&id.topic, id.partition)
        {
            element.set_metadata(&commit.note);
        }
    }
    Ok(list)
}
