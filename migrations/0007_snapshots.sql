-- What each worker does now, as JSON, in place of what it did a moment ago. A worker that stops
-- takes its row along; that of one which died is swept.
CREATE TABLE worker_snapshots (
    instance      TEXT   PRIMARY KEY,
    started_at_ms BIGINT NOT NULL,
    seen_at_ms    BIGINT NOT NULL,
    snapshot      TEXT   NOT NULL
);

CREATE INDEX worker_snapshots_by_start ON worker_snapshots (started_at_ms, instance);

-- Types that an operator has paused: no worker starts a job of theirs.
CREATE TABLE type_pauses (
    type_name    TEXT   PRIMARY KEY,
    paused_at_ms BIGINT NOT NULL,
    paused_by    TEXT   NOT NULL,
    reason       TEXT
);
