-- One text for SQLite and PostgreSQL: ids as TEXT, times in milliseconds since the epoch,
-- numbers as BIGINT.

-- The index of the dead-letter topic. It can be thrown away: the topic is the truth.
CREATE TABLE dead_letters (
    dlq_topic          TEXT   NOT NULL,
    dlq_partition      BIGINT NOT NULL,
    dlq_offset         BIGINT NOT NULL,
    message_id         TEXT   NOT NULL,
    type_name          TEXT,
    group_name         TEXT,
    original_topic     TEXT   NOT NULL,
    original_partition BIGINT NOT NULL,
    original_offset    BIGINT NOT NULL,
    original_key       TEXT,
    original_time_ms   BIGINT,
    attempts           BIGINT NOT NULL,
    error_class        TEXT   NOT NULL,
    error_message      TEXT   NOT NULL,
    error_chain        TEXT   NOT NULL,
    fingerprint        TEXT   NOT NULL,
    failed_at_ms       BIGINT NOT NULL,
    PRIMARY KEY (dlq_topic, dlq_partition, dlq_offset)
);

CREATE INDEX dead_letters_by_time
    ON dead_letters (dlq_topic, failed_at_ms, dlq_partition, dlq_offset);
CREATE INDEX dead_letters_by_message ON dead_letters (dlq_topic, message_id);

-- How far each partition of the dead-letter topic is indexed.
CREATE TABLE dead_letter_progress (
    dlq_topic     TEXT   NOT NULL,
    dlq_partition BIGINT NOT NULL,
    next_offset   BIGINT NOT NULL,
    PRIMARY KEY (dlq_topic, dlq_partition)
);

-- What operators did with dead letters. Kept apart from the index, and never rebuilt.
-- The message_id guards against a topic that was deleted and made anew.
CREATE TABLE dead_letter_resolutions (
    dlq_topic         TEXT   NOT NULL,
    dlq_partition     BIGINT NOT NULL,
    dlq_offset        BIGINT NOT NULL,
    message_id        TEXT   NOT NULL,
    state             TEXT   NOT NULL,
    replay_id         TEXT,
    reason            TEXT,
    changed_at_ms     BIGINT NOT NULL,
    receipt_topic     TEXT,
    receipt_partition BIGINT,
    receipt_offset    BIGINT,
    PRIMARY KEY (dlq_topic, dlq_partition, dlq_offset)
);

CREATE INDEX dead_letter_resolutions_by_replay ON dead_letter_resolutions (replay_id);

-- Work that one instance does for all, as long as it renews its lease.
CREATE TABLE leases (
    name          TEXT   PRIMARY KEY,
    holder        TEXT   NOT NULL,
    expires_at_ms BIGINT NOT NULL
);
