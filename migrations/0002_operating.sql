-- A job's status asks for the dead letter of one record.
CREATE INDEX dead_letters_by_original
    ON dead_letters (dlq_topic, original_topic, original_partition, original_offset);

-- Resets of a group's offset: what one that went forward passed over has not run.
CREATE TABLE offset_resets (
    id          TEXT   PRIMARY KEY,
    group_name  TEXT   NOT NULL,
    topic       TEXT   NOT NULL,
    partition   BIGINT NOT NULL,
    from_offset BIGINT NOT NULL,
    to_offset   BIGINT NOT NULL,
    at_ms       BIGINT NOT NULL
);

CREATE INDEX offset_resets_by_partition ON offset_resets (group_name, topic, partition, at_ms);

-- Who did what: written before the deed, its outcome after.
CREATE TABLE audit (
    id      TEXT   PRIMARY KEY,
    at_ms   BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    action  TEXT   NOT NULL,
    target  TEXT   NOT NULL,
    reason  TEXT,
    detail  TEXT   NOT NULL,
    outcome TEXT   NOT NULL
);

CREATE INDEX audit_by_time ON audit (at_ms, id);

-- What each instance has counted since its start, as JSON. Those that are gone keep theirs.
CREATE TABLE instance_counters (
    instance      TEXT   PRIMARY KEY,
    started_at_ms BIGINT NOT NULL,
    seen_at_ms    BIGINT NOT NULL,
    counters      TEXT   NOT NULL
);
