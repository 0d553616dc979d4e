-- Webhooks: where customers want to be told what happens, and each attempt to tell them.
-- The rules for these columns stand at the head of src/store/mod.rs.

CREATE TABLE webhooks (
    id                       TEXT   NOT NULL PRIMARY KEY,
    -- Of whose events; none: of every campaign.
    campaign_id              TEXT,
    url                      TEXT   NOT NULL,
    -- whsec_ and the base64 of 24 to 64 bytes.
    secret                   TEXT   NOT NULL,
    -- The one before: signed with too until this time.
    previous_secret          TEXT,
    previous_secret_until_ms BIGINT,
    -- JSON, a list of event types; "*" is all of them.
    events                   TEXT   NOT NULL DEFAULT '["*"]',
    -- active, paused, failed
    status                   TEXT   NOT NULL DEFAULT 'active',
    -- Attempts after the first; none: as many as the schedule has.
    max_retries              BIGINT,
    timeout_ms               BIGINT NOT NULL DEFAULT 15000,
    -- Attempts, and those of them that failed.
    total_deliveries         BIGINT NOT NULL DEFAULT 0,
    total_failures           BIGINT NOT NULL DEFAULT 0,
    last_success_ms          BIGINT,
    last_failure_ms          BIGINT,
    -- Since when nothing but failures has come of it; none: the last attempt was a success.
    failing_since_ms         BIGINT,
    -- Why it is failed.
    disabled_reason          TEXT,
    created_at_ms            BIGINT NOT NULL
);

CREATE INDEX webhooks_by_campaign ON webhooks (status, campaign_id);

CREATE TABLE webhook_deliveries (
    webhook_id      TEXT   NOT NULL,
    -- The job; also the webhook-id that the receiver sees.
    message_id      TEXT   NOT NULL,
    -- When the attempt began.
    at_ms           BIGINT NOT NULL,
    -- From 1; with those that the producer has made before.
    attempt         BIGINT NOT NULL,
    event_type      TEXT   NOT NULL,
    -- The beginning of what was sent.
    payload         TEXT   NOT NULL,
    -- succeeded, failed
    status          TEXT   NOT NULL,
    -- None: no answer came.
    response_status BIGINT,
    -- The beginning of the answer.
    response_body   TEXT,
    duration_ms     BIGINT NOT NULL,
    error           TEXT,
    PRIMARY KEY (webhook_id, message_id, at_ms)
);

CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (at_ms);
