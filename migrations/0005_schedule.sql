-- Records that are to be written to Kafka at a later time: delayed jobs, the retries that wait for
-- long, and jobs that an effect asks for. Keys, values and the values of headers are any bytes:
-- base64. A row that has come to its end keeps its place, and lets its value go.
CREATE TABLE schedule (
    -- The message_id of a job; of a retry, what follows from the attempt that failed.
    id                TEXT   PRIMARY KEY,
    message_id        TEXT   NOT NULL,
    type_name         TEXT   NOT NULL,
    producer          TEXT   NOT NULL,
    topic             TEXT   NOT NULL,
    record_key        TEXT,
    record_value      TEXT,
    headers           TEXT   NOT NULL,
    size_bytes        BIGINT NOT NULL,
    -- Rows of one lane, which follows from topic and key, are sent one after the other.
    lane              TEXT   NOT NULL,
    due_ms            BIGINT NOT NULL,
    created_at_ms     BIGINT NOT NULL,
    -- waiting, sent or cancelled.
    state             TEXT   NOT NULL,
    -- The instance that sends it.
    holder            TEXT,
    -- Nobody may take it before this: the end of its holder's lease, or of a wait after a failure.
    held_until_ms     BIGINT NOT NULL,
    -- It may be in Kafka already: nobody knows what became of an attempt to send it.
    is_doubtful       BIGINT NOT NULL,
    failures          BIGINT NOT NULL,
    ended_at_ms       BIGINT,
    receipt_partition BIGINT,
    receipt_offset    BIGINT,
    -- Of a retry: whose it is, and the attempt that it follows, by its record's place.
    retry_group       TEXT,
    retry_partition   BIGINT,
    retry_offset      BIGINT,
    retry_attempt     BIGINT
);

CREATE INDEX schedule_by_due ON schedule (due_ms, id) WHERE state = 'waiting';
CREATE INDEX schedule_by_lane ON schedule (lane, due_ms, id) WHERE state = 'waiting';
CREATE INDEX schedule_by_holder ON schedule (holder) WHERE holder IS NOT NULL;
CREATE INDEX schedule_by_end ON schedule (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
CREATE INDEX schedule_by_retried ON schedule (topic, retry_partition, retry_offset)
    WHERE retry_group IS NOT NULL;
