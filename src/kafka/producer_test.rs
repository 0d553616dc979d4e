use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::domain::clock::SystemClock;
use crate::domain::record::Headers;

const TOPIC: &str = "topic";
/// Long enough that a second request is on its way before the first one is answered.
const ROUND_TRIP: Duration = Duration::from_millis(300);

fn record() -> OutgoingRecord {
    OutgoingRecord {
        topic: TOPIC.to_owned(),
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: Headers::new(),
        timestamp_ms: 1_735_689_600_007,
    }
}

#[tokio::test]
async fn only_a_record_whose_place_the_broker_named_is_acknowledged() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let settings = KafkaSettings { brokers: cluster.bootstrap_servers(), properties: Vec::new() };
    let producer = Producer::new(settings, Arc::new(SystemClock)).unwrap();
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
