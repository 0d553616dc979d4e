use std::sync::atomic::Ordering;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::*;
use crate::domain::clock::SystemClock;
use crate::domain::record::Headers;

const TOPIC: &str = "topic";
/// Long enough that a second request is on its way before the first one is answered.
const ROUND_TRIP: Duration = Duration::from_millis(300);

fn record() -> OutgoingRecord {
    record_of("key")
}

fn record_of(key: &str) -> OutgoingRecord {
    OutgoingRecord {
        topic: TOPIC.to_owned(),
        key: Some(key.as_bytes().to_vec()),
        value: Some(b"value".to_vec()),
        headers: Headers::new(),
        timestamp_ms: 1_735_689_600_007,
    }
}

fn producer_of(cluster: &MockCluster<'_, DefaultProducerContext>) -> Producer {
    let settings = KafkaSettings { brokers: cluster.bootstrap_servers(), properties: Vec::new() };
    Producer::new(settings, Arc::new(SystemClock)).unwrap()
}

#[tokio::test]
async fn only_a_record_whose_place_the_broker_named_is_acknowledged() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let producer = producer_of(&cluster);
    let first = producer.send(&record()).await.unwrap();
    assert_eq!((first.partition, first.offset), (0, 0));

    // The first of two requests is refused and the second one taken, as by a leader that
    // has come in between.
    cluster.broker_round_trip_time(1, ROUND_TRIP).unwrap();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused]);
    let record = record();
    let later = async {
        tokio::time::sleep(ROUND_TRIP / 3).await;
        producer.send(&record).await
    };
    let (earlier, later) = tokio::join!(producer.send(&record), later);
    assert_eq!(later.unwrap().offset, 1);
    assert!(matches!(earlier, Err(ProduceError::Unknown(_))), "{earlier:?}");
    let counters = producer.counters();
    assert_eq!(counters.messages.load(Ordering::Relaxed), 2);
    assert_eq!(counters.errors.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn records_of_one_key_are_written_in_the_order_in_which_they_are_handed_over() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 4, 1).unwrap();
    let producer = producer_of(&cluster);
    let mut deliveries = Vec::new();
    for number in 0..2_000 {
        deliveries.push(producer.hand_over(record(), |_| {}));
        // Some find nothing on its way, some are held.
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for (delivery, expected) in deliveries.into_iter().zip(0..) {
        assert_eq!(delivery.await.unwrap().offset, expected);
    }
}

#[tokio::test]
async fn a_partition_that_is_slow_holds_up_no_other() {
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
    cluster.partition_leader(TOPIC, 1, Some(2)).unwrap();
    let producer = producer_of(&cluster);
    let mut keys = [None, None];
    while keys.contains(&None) {
        let key = Uuid::now_v7().to_string();
        let place = producer.send(&record_of(&key)).await.unwrap();
        keys[usize::try_from(place.partition).unwrap()] = Some(key);
    }
    let [quick, slow] = keys.map(|key| record_of(&key.unwrap()));
    cluster.broker_round_trip_time(2, ROUND_TRIP * 20).unwrap();
    let waiting: Vec<_> = (0..50).map(|_| producer.hand_over(slow.clone(), |_| {})).collect();
    let begun = Instant::now();
    for _ in 0..10 {
        producer.send(&quick).await.unwrap();
    }
    assert!(begun.elapsed() < ROUND_TRIP * 10, "{:?}", begun.elapsed());
    for delivery in waiting {
        delivery.await.unwrap();
    }
}

#[tokio::test]
async fn a_flush_writes_what_is_held_as_well() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let producer = producer_of(&cluster);
    producer.send(&record()).await.unwrap();
    let deliveries: Vec<_> = (0..50).map(|_| producer.hand_over(record(), |_| {})).collect();
    producer.flush(Duration::from_secs(20)).await.unwrap();
    for delivery in deliveries {
        assert!(delivery.now_or_never().unwrap().is_ok());
    }
}

#[tokio::test]
async fn what_was_handed_over_is_written_although_nobody_waits_and_told() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let producer = producer_of(&cluster);
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..50 {
        let told = told.clone();
        drop(producer.hand_over(record(), move |outcome| {
            told.send(outcome.as_ref().map(|place| place.offset).ok()).unwrap();
        }));
    }
    for expected in 0..50 {
        assert_eq!(heard.recv().await.unwrap(), Some(expected));
    }
}
