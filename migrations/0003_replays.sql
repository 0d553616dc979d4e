-- An effect is had once for each (scope, message_id): the row is written in the effect's own
-- transaction. Rows outlive every retention that a record can come back from.
CREATE TABLE claims (
    scope         TEXT   NOT NULL,
    message_id    TEXT   NOT NULL,
    claimed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (scope, message_id)
);

-- Replays of topics. The counts belong to the positions in replay_spans: they cover the records
-- below them and no others.
CREATE TABLE replays (
    id                  TEXT   PRIMARY KEY,
    created_at_ms       BIGINT NOT NULL,
    created_by          TEXT   NOT NULL,
    reason              TEXT,
    topic               TEXT   NOT NULL,
    handler             TEXT   NOT NULL,
    group_name          TEXT   NOT NULL,
    effects             TEXT   NOT NULL,
    record_key          TEXT,
    rate_per_second     TEXT,
    dead_letters        BIGINT NOT NULL,
    state               TEXT   NOT NULL,
    error               TEXT,
    started_at_ms       BIGINT,
    finished_at_ms      BIGINT,
    done                BIGINT NOT NULL,
    already_done        BIGINT NOT NULL,
    failed              BIGINT NOT NULL,
    skipped             BIGINT NOT NULL,
    -- Records that came to their end in 1,000 s, at the pace of the last few seconds.
    per_1000_s          BIGINT NOT NULL,
    waits_for           TEXT,
    holder              TEXT,
    lease_expires_at_ms BIGINT NOT NULL
);

CREATE INDEX replays_by_time ON replays (created_at_ms, id);
-- Two replays under one group would share its offsets.
CREATE UNIQUE INDEX replays_by_open_group ON replays (group_name)
    WHERE state IN ('queued', 'running', 'cancelling');

CREATE TABLE replay_spans (
    replay_id   TEXT   NOT NULL,
    partition   BIGINT NOT NULL,
    from_offset BIGINT NOT NULL,
    to_offset   BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    PRIMARY KEY (replay_id, partition)
);

-- The records of a replay that failed for good.
CREATE TABLE replay_failures (
    replay_id     TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    message_id    TEXT   NOT NULL,
    record_key    TEXT,
    attempts      BIGINT NOT NULL,
    error_class   TEXT   NOT NULL,
    error_message TEXT   NOT NULL,
    failed_at_ms  BIGINT NOT NULL,
    PRIMARY KEY (replay_id, partition, record_offset)
);
