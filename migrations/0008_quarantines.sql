-- Keys whose later jobs are parked, since one of theirs became a dead letter about which nobody
-- has decided. A row goes when the last job that was parked for it has come to its end.
CREATE TABLE quarantines (
    group_name       TEXT   NOT NULL,
    -- Follows from topic and key, as in the schedule; a key may be too long for an index.
    lane             TEXT   NOT NULL,
    id               TEXT   NOT NULL,
    topic            TEXT   NOT NULL,
    record_key       TEXT   NOT NULL,
    -- The job that died, and its last dead letter.
    message_id       TEXT   NOT NULL,
    -- Where the record stood that began it, in the topic: what stands before it had ended.
    from_partition   BIGINT NOT NULL,
    from_offset      BIGINT NOT NULL,
    letter_topic     TEXT   NOT NULL,
    letter_partition BIGINT NOT NULL,
    letter_offset    BIGINT NOT NULL,
    since_ms         BIGINT NOT NULL,
    -- held or releasing.
    state            TEXT   NOT NULL,
    -- Parked jobs are numbered from 1: the last one, and the last that has come to its end.
    last_number      BIGINT NOT NULL,
    ended_number     BIGINT NOT NULL,
    -- A released job is due at this time, and as many milliseconds later as its number says.
    base_ms          BIGINT NOT NULL,
    PRIMARY KEY (group_name, lane)
);

CREATE UNIQUE INDEX quarantines_by_id ON quarantines (id);
CREATE INDEX quarantines_by_time ON quarantines (since_ms, id);
CREATE INDEX quarantines_by_message ON quarantines (group_name, message_id);
CREATE INDEX quarantines_by_letter ON quarantines (letter_topic, letter_partition, letter_offset);

-- Grows with each change of the table above but for its numbers: who has read it need not read
-- it again while this is the same.
CREATE TABLE quarantine_changes (
    id     BIGINT PRIMARY KEY,
    number BIGINT NOT NULL
);

INSERT INTO quarantine_changes (id, number) VALUES (1, 0);

-- A row of the schedule may be parked, in place of waiting: it waits for a quarantine's release.
-- Its retry_partition and retry_offset are the place at which its record came.
ALTER TABLE schedule ADD COLUMN quarantine_id TEXT;
ALTER TABLE schedule ADD COLUMN quarantine_number BIGINT;

CREATE INDEX schedule_by_quarantine ON schedule (quarantine_id, quarantine_number)
    WHERE quarantine_id IS NOT NULL;
