-- Attempts that a restart must not forget: those of a job that waits long for its next one, and
-- those that began after a worker had gone without a word. No other job has a row.
CREATE TABLE attempts (
    group_name    TEXT   NOT NULL,
    topic         TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    -- Guards against a topic that was deleted and made anew.
    message_id    TEXT   NOT NULL,
    -- Those that count, the one that runs included.
    attempts      BIGINT NOT NULL,
    -- 1 while one runs: a row that says so when its worker is gone accuses the job.
    is_open       BIGINT NOT NULL,
    not_before_ms BIGINT,
    noted_at_ms   BIGINT NOT NULL,
    PRIMARY KEY (group_name, topic, partition, record_offset)
);

CREATE INDEX attempts_by_time ON attempts (noted_at_ms);
