//! Lag: how many records a group has before it, and how old the oldest of them is, read
//! from that very record. What cannot be asked is an error, never zero.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::domain::catalog::Catalog;
use crate::domain::clock::SharedClock;
use crate::domain::dispatch::PartitionId;
use crate::domain::lag_status::{LagStatus, LagWindow, Sample};
use crate::kafka::{Bounds, Groups, KafkaFault, Reader};

/// How long an answer may take in all.
const DEADLINE: Duration = Duration::from_secs(8);
/// How often the windows of the status take a sample.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Why the lag cannot be told.
#[derive(Debug, Error)]
pub enum LagError {
    /// No type of the catalog has this group.
    #[error("no type has the group {0}")]
    UnknownGroup(String),
    /// Kafka took too long.
    #[error("the lag took longer than {} s", DEADLINE.as_secs())]
    TimedOut,
    /// Kafka did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
}

/// The lag of a group.
#[derive(Debug, Clone)]
pub struct GroupLag {
    /// The group.
    pub group: String,
    /// Records, over all topics.
    pub lag_records: i64,
    /// Of the oldest unfinished record.
    pub age_ms: Option<i64>,
    /// The worst of its partitions.
    pub status: LagStatus,
    /// By topic, in the catalog's order.
    pub topics: Vec<TopicLag>,
}

/// The lag in a topic.
#[derive(Debug, Clone)]
pub struct TopicLag {
    /// The topic.
    pub topic: String,
    /// Records, over all partitions.
    pub lag_records: i64,
    /// By partition.
    pub partitions: Vec<PartitionLag>,
}

/// The lag in a partition.
#[derive(Debug, Clone)]
pub struct PartitionLag {
    /// The partition.
    pub partition: i32,
    /// The group's next offset, if it has committed one.
    pub committed: Option<i64>,
    /// One past the last record.
    pub end: i64,
    /// Records.
    pub lag_records: i64,
    /// Of the oldest unfinished record: 0 where there is none, none where it has no time.
    pub age_ms: Option<i64>,
    /// Whether the group keeps up.
    pub status: LagStatus,
}

/// The lag of a group's topic, as the last sample had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledLag {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Records.
    pub lag_records: i64,
}

/// A partition with the group's commit and its bounds.
type Found = (i32, Option<i64>, Bounds);

/// What one look at a group found.
struct Look {
    group: String,
    partitions: Vec<(PartitionId, Option<i64>, Bounds)>,
}

/// The last samples, by group and partition.
type Windows = HashMap<(String, PartitionId), LagWindow>;

#[derive(Default)]
struct Watched {
    windows: Windows,
    /// None while the last sample failed.
    last: Option<Vec<SampledLag>>,
}

/// Measures lag. Cheap to clone.
#[derive(Clone)]
pub struct Lag {
    catalog: Arc<Catalog>,
    reader: Reader,
    groups: Groups,
    clock: SharedClock,
    watched: Arc<Mutex<Watched>>,
}

impl Lag {
    /// The use case, on these parts.
    pub fn new(catalog: Arc<Catalog>, reader: Reader, groups: Groups, clock: SharedClock) -> Self {
        Self { catalog, reader, groups, clock, watched: Arc::default() }
    }

    /// The lag of every group of the catalog.
    pub async fn all(&self) -> Result<Vec<GroupLag>, LagError> {
        let names: Vec<String> = self.catalog.groups().into_iter().map(str::to_owned).collect();
        self.measure(names).await
    }

    /// The lag of one group of the catalog.
    pub async fn of(&self, group: &str) -> Result<GroupLag, LagError> {
        let unknown = || LagError::UnknownGroup(group.to_owned());
        if !self.catalog.groups().contains(&group) {
            return Err(unknown());
        }
        self.measure(vec![group.to_owned()]).await?.pop().ok_or_else(unknown)
    }

    /// Records before all groups, without their ages.
    pub async fn total(&self) -> Result<i64, LagError> {
        let names: Vec<String> = self.catalog.groups().into_iter().map(str::to_owned).collect();
        let looks = self.look(names);
        let looks =
            tokio::time::timeout(DEADLINE, looks).await.map_err(|_| LagError::TimedOut)??;
        let partitions = looks.iter().flat_map(|look| &look.partitions);
        Ok(partitions.map(|(_, committed, bounds)| lag_of(*committed, *bounds)).sum())
    }

    /// The lag as last sampled; none where Kafka did not answer.
    pub fn sampled(&self) -> Option<Vec<SampledLag>> {
        self.watched().last.clone()
    }

    /// Takes samples until stopped.
    pub async fn watch(self, stop: CancellationToken) {
        let names: Vec<String> = self.catalog.groups().into_iter().map(str::to_owned).collect();
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let looks = tokio::select! {
                () = stop.cancelled() => return,
                looks = self.look(names.clone()) => looks,
            };
            let mut watched = self.watched();
            match looks {
                Ok(looks) => watched.take(&looks),
                Err(error) => {
                    watched.last = None;
                    tracing::debug!(%error, "the lag was not sampled");
                }
            }
        }
    }

    async fn measure(&self, groups: Vec<String>) -> Result<Vec<GroupLag>, LagError> {
        let measured = async {
            // The windows first: against one with a newer sample than the look, an offset
            // would seem to have gone back.
            let windows = self.watched().windows.clone();
            let looks = self.look(groups).await?;
            let described = looks.into_iter().map(|look| self.describe(look, &windows));
            Ok(try_join_all(described).await?)
        };
        tokio::time::timeout(DEADLINE, measured).await.map_err(|_| LagError::TimedOut)?
    }

    /// Commits first, then the ends: the other way round, a lag could come out too small.
    async fn look(&self, groups: Vec<String>) -> Result<Vec<Look>, KafkaFault> {
        let topics: Vec<&str> = self.catalog.iter().map(|t| t.topic.name.as_str()).collect();
        let partitions = self.reader.partitions(&topics).await?;
        let mut looks = try_join_all(groups.into_iter().map(|group| {
            let its: Vec<PartitionId> = partitions
                .iter()
                .filter(|id| self.catalog.by_topic(&id.topic).is_some_and(|t| t.group == group))
                .cloned()
                .collect();
            async move {
                let mut committed = self.groups.committed(&group, its.clone()).await?;
                let its = its.into_iter().map(|id| {
                    let committed = committed.remove(&id).flatten();
                    (id, committed)
                });
                Ok::<_, KafkaFault>((group, its.collect::<Vec<_>>()))
            }
        }))
        .await?;
        let asked = looks.iter().flat_map(|(_, its)| its).map(|(id, _)| id.clone()).collect();
        let bounds = self.reader.bounds_of(asked).await?;
        let looks = looks.drain(..).map(|(group, its)| {
            let with_bounds = its.into_iter().filter_map(|(id, committed)| {
                let bounds = *bounds.get(&id)?;
                Some((id, committed, bounds))
            });
            Look { group, partitions: with_bounds.collect() }
        });
        Ok(looks.collect())
    }

    async fn describe(&self, look: Look, windows: &Windows) -> Result<GroupLag, KafkaFault> {
        let Look { group, partitions } = look;
        let mut by_topic: Vec<(Arc<str>, Vec<Found>)> = Vec::new();
        for (id, committed, bounds) in partitions {
            let found = (id.partition, committed, bounds);
            match by_topic.last_mut().filter(|(topic, _)| *topic == id.topic) {
                Some((_, partitions)) => partitions.push(found),
                None => by_topic.push((id.topic, vec![found])),
            }
        }
        let topics = by_topic
            .into_iter()
            .map(|(topic, partitions)| self.describe_topic(&group, topic, partitions, windows));
        let topics: Vec<TopicLag> = try_join_all(topics).await?;
        let partitions = || topics.iter().flat_map(|topic| &topic.partitions);
        Ok(GroupLag {
            lag_records: topics.iter().map(|topic| topic.lag_records).sum(),
            age_ms: partitions().filter_map(|partition| partition.age_ms).max(),
            status: partitions().map(|p| p.status).max().unwrap_or(LagStatus::Ok),
            group,
            topics,
        })
    }

    async fn describe_topic(
        &self,
        group: &str,
        topic: Arc<str>,
        partitions: Vec<Found>,
        windows: &Windows,
    ) -> Result<TopicLag, KafkaFault> {
        let behind: Vec<(i32, i64)> = partitions
            .iter()
            .filter(|(_, committed, bounds)| lag_of(*committed, *bounds) > 0)
            .map(|(partition, committed, bounds)| {
                (*partition, committed.unwrap_or(bounds.low).max(bounds.low))
            })
            .collect();
        let oldest = if behind.is_empty() {
            HashMap::new()
        } else {
            self.reader.first_records(&topic, behind).await?
        };
        let now_ms = self.clock.now_ms();
        let partitions: Vec<PartitionLag> = partitions
            .into_iter()
            .map(|(partition, committed, bounds)| {
                let (lag_records, age_ms) = match oldest.get(&partition) {
                    Some(Some(record)) => {
                        let age_ms = record.timestamp_ms.map(|at| (now_ms - at).max(0));
                        (lag_of(committed, bounds), age_ms)
                    }
                    // Nothing, or only the ends of transactions, which are no records.
                    Some(None) | None => (0, Some(0)),
                };
                let id = PartitionId { topic: Arc::clone(&topic), partition };
                let window = windows.get(&(group.to_owned(), id));
                let now = Sample { committed, lag: lag_records };
                let status =
                    window.map_or_else(|| LagWindow::default().status(now), |w| w.status(now));
                PartitionLag { partition, committed, end: bounds.high, lag_records, age_ms, status }
            })
            .collect();
        let lag_records = partitions.iter().map(|partition| partition.lag_records).sum();
        Ok(TopicLag { topic: topic.as_ref().to_owned(), lag_records, partitions })
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn take(&mut self, looks: &[Look]) {
        let mut last: Vec<SampledLag> = Vec::new();
        for Look { group, partitions } in looks {
            for (id, committed, bounds) in partitions {
                let lag = lag_of(*committed, *bounds);
                let window = self.windows.entry((group.clone(), id.clone())).or_default();
                window.push(Sample { committed: *committed, lag });
                let same = |l: &&mut SampledLag| l.group == *group && l.topic == *id.topic;
                match last.last_mut().filter(same) {
                    Some(sampled) => sampled.lag_records += lag,
                    None => last.push(SampledLag {
                        group: group.clone(),
                        topic: id.topic.as_ref().to_owned(),
                        lag_records: lag,
                    }),
                }
            }
        }
        self.last = Some(last);
    }
}

/// As Kafka's own tools count. A group without a commit has everything before it.
fn lag_of(committed: Option<i64>, bounds: Bounds) -> i64 {
    (bounds.high - committed.unwrap_or(bounds.low)).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_commit_has_everything_before_it() {
        let bounds = Bounds { low: 3, high: 10 };
        assert_eq!(lag_of(None, bounds), 7);
        assert_eq!(lag_of(Some(4), bounds), 6);
        assert_eq!(lag_of(Some(10), bounds), 0);
        assert_eq!(lag_of(Some(11), bounds), 0, "the topic was made anew");
    }
}
