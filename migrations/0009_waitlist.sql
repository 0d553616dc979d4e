-- The waitlist platform's own tables. Its other services may write them as well: a campaign's
-- settings are theirs, what the events say is jobgate's.

CREATE TABLE campaigns (
    id                         TEXT   PRIMARY KEY,
    name                       TEXT   NOT NULL,
    slug                       TEXT   NOT NULL UNIQUE,
    -- draft, active, paused or completed.
    status                     TEXT   NOT NULL DEFAULT 'active',
    -- 1: a user counts once the address is confirmed.
    verification_required      BIGINT NOT NULL DEFAULT 1,
    -- What a user who was referred starts with, and what each referral brings the referrer.
    positions_to_jump          BIGINT NOT NULL DEFAULT 0,
    referrer_positions_to_jump BIGINT NOT NULL DEFAULT 1,
    -- A user is mailed of a new position when it differs by so much from the last one told.
    position_update_threshold  BIGINT NOT NULL DEFAULT 10,
    -- Numbers of referrals that are worth a mail, a JSON array in ascending order.
    milestones                 TEXT   NOT NULL DEFAULT '[1,5,10,25,50,100]',
    -- Where the campaign's own pages are; null: where jobgate's setting says.
    site_url                   TEXT,
    -- As the last run of its analytics left them.
    total_signups              BIGINT NOT NULL DEFAULT 0,
    total_verified             BIGINT NOT NULL DEFAULT 0,
    total_referrals            BIGINT NOT NULL DEFAULT 0,
    created_at_ms              BIGINT NOT NULL
);

CREATE TABLE waitlist_users (
    id                      TEXT   PRIMARY KEY,
    campaign_id             TEXT   NOT NULL REFERENCES campaigns (id),
    email                   TEXT   NOT NULL,
    -- The address in lower case: it is there once in a campaign.
    email_key               TEXT   NOT NULL,
    first_name              TEXT,
    last_name               TEXT,
    -- pending, verified, converted, removed or blocked.
    status                  TEXT   NOT NULL,
    -- From 1; -1: not worked out yet.
    position                BIGINT NOT NULL DEFAULT -1,
    original_position       BIGINT NOT NULL DEFAULT -1,
    -- The position that the last mail told, or the first one; -1: none.
    told_position           BIGINT NOT NULL DEFAULT -1,
    referral_code           TEXT   NOT NULL,
    -- No foreign key: events of two users have no order, so the referrer may come later.
    referred_by_id          TEXT,
    -- Follow from the referrals, and are written whenever one of them changes.
    referral_count          BIGINT NOT NULL DEFAULT 0,
    verified_referral_count BIGINT NOT NULL DEFAULT 0,
    -- The highest milestone that a mail was asked for.
    milestone               BIGINT NOT NULL DEFAULT 0,
    email_verified          BIGINT NOT NULL DEFAULT 0,
    verified_at_ms          BIGINT,
    -- What the link to confirm the address carries.
    verification_token      TEXT   NOT NULL,
    -- 1: gets no mail that the user did not ask for (position-update, milestone). Written by
    -- whoever serves the page that these mails name in List-Unsubscribe.
    unsubscribed            BIGINT NOT NULL DEFAULT 0,
    source                  TEXT   NOT NULL,
    ip_address              TEXT,
    user_agent              TEXT,
    device_fingerprint      TEXT,
    -- When the user signed up, by the event's own timestamp.
    created_at_ms           BIGINT NOT NULL,
    UNIQUE (campaign_id, email_key),
    UNIQUE (campaign_id, referral_code)
);

CREATE TABLE referrals (
    referrer_id   TEXT   NOT NULL,
    referred_id   TEXT   NOT NULL,
    campaign_id   TEXT   NOT NULL,
    -- pending, verified, converted or invalid.
    status        TEXT   NOT NULL,
    source        TEXT,
    ip_address    TEXT,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (referrer_id, referred_id)
);

CREATE INDEX referrals_by_referred ON referrals (referred_id);

-- What has happened, once each, whatever order the events came in: analytics counts these rows.
CREATE TABLE event_records (
    event_type  TEXT   NOT NULL,
    -- What it happened to: the user; of a referral, referrer and referred; of a reward, the
    -- user's own.
    subject     TEXT   NOT NULL,
    message_id  TEXT   NOT NULL,
    campaign_id TEXT   NOT NULL,
    user_id     TEXT   NOT NULL,
    -- Of a signup: an address counts once in a campaign.
    email_key   TEXT,
    -- By the event's own timestamp; and the hour of it, UTC.
    at_ms       BIGINT NOT NULL,
    hour_ms     BIGINT NOT NULL,
    PRIMARY KEY (event_type, subject)
);

CREATE INDEX event_records_by_hour ON event_records (campaign_id, hour_ms);
CREATE UNIQUE INDEX event_records_by_email ON event_records (campaign_id, email_key)
    WHERE email_key IS NOT NULL;

-- Every mail that went out, and every one that was not to. A job has a row for each scope that
-- it is claimed in: a replay that has the effects again sends its mail once more.
CREATE TABLE sent_emails (
    scope       TEXT   NOT NULL,
    message_id  TEXT   NOT NULL,
    campaign_id TEXT   NOT NULL,
    user_id     TEXT   NOT NULL,
    -- verification, welcome, position-update, reward-earned or milestone.
    kind        TEXT   NOT NULL,
    -- sent or skipped.
    outcome     TEXT   NOT NULL,
    -- Why it was skipped: removed, blocked, already_verified or unsubscribed.
    reason      TEXT,
    -- Whom it was sent to.
    recipient   TEXT,
    at_ms       BIGINT NOT NULL,
    hour_ms     BIGINT NOT NULL,
    PRIMARY KEY (scope, message_id)
);

CREATE INDEX sent_emails_by_hour ON sent_emails (campaign_id, hour_ms);
CREATE INDEX sent_emails_by_user ON sent_emails (user_id, at_ms);

-- Spans in which something happened; the totals are those at their end.
CREATE TABLE campaign_analytics (
    campaign_id             TEXT   NOT NULL,
    -- hour, day, week (from Monday) or month, all UTC.
    granularity             TEXT   NOT NULL,
    -- The start of the span.
    time_ms                 BIGINT NOT NULL,
    new_signups             BIGINT NOT NULL,
    new_verified            BIGINT NOT NULL,
    new_referrals           BIGINT NOT NULL,
    emails_sent             BIGINT NOT NULL,
    rewards_earned          BIGINT NOT NULL,
    rewards_delivered       BIGINT NOT NULL,
    total_signups           BIGINT NOT NULL,
    total_verified          BIGINT NOT NULL,
    total_referrals         BIGINT NOT NULL,
    total_emails_sent       BIGINT NOT NULL,
    total_rewards_earned    BIGINT NOT NULL,
    total_rewards_delivered BIGINT NOT NULL,
    PRIMARY KEY (campaign_id, granularity, time_ms)
);
