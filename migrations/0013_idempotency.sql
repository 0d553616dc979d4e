-- Keys under which requests were sent (Idempotency-Key). A row is there before anything is done
-- for its request, and says under which id it is done; once it has its answer, whoever repeats the
-- request gets that.
CREATE TABLE idempotency_keys (
    -- Whose key it is; empty where callers have no names.
    caller            TEXT   NOT NULL,
    type_name         TEXT   NOT NULL,
    idempotency_key   TEXT   NOT NULL,
    -- SHA-256 of query and body.
    fingerprint       TEXT   NOT NULL,
    -- The id that the job or event has, whoever sends it in the end.
    message_id        TEXT   NOT NULL,
    -- The attempt that is at it; the first one has the id of the message as its own.
    attempt           TEXT   NOT NULL,
    -- The time inside the message's id: by it a row is found and swept.
    created_at_ms     BIGINT NOT NULL,
    -- Without an answer by then its attempt has ended, and another one may begin.
    held_until_ms     BIGINT NOT NULL,
    -- What was answered; null before that.
    answer_status     BIGINT,
    answer_location   TEXT,
    answer_body       TEXT,
    -- Where the record is, if it was sent at once.
    receipt_partition BIGINT,
    receipt_offset    BIGINT,
    PRIMARY KEY (caller, type_name, idempotency_key)
);

CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at_ms);
