-- What campaigns give to those who wait, and what users have got of it. Rewards are the platform's
-- to write, but for total_claimed; what users earn is jobgate's, but for what comes after delivery.

CREATE TABLE rewards (
    id              TEXT   PRIMARY KEY,
    campaign_id     TEXT   NOT NULL REFERENCES campaigns (id),
    name            TEXT   NOT NULL,
    description     TEXT,
    type            TEXT   NOT NULL DEFAULT 'custom'
        CHECK (type IN ('early_access', 'discount', 'premium_feature', 'merchandise', 'custom')),
    -- What grants it: so many referrals, a place that is this one or better, a milestone (null:
    -- each of the campaign's), or a person.
    trigger_type    TEXT   NOT NULL
        CHECK (trigger_type IN ('referral_count', 'position', 'milestone', 'manual')),
    trigger_value   BIGINT,
    delivery_method TEXT   NOT NULL DEFAULT 'email'
        CHECK (delivery_method IN ('email', 'webhook', 'manual')),
    -- Which endpoint is told, where the method is webhook.
    webhook_id      TEXT,
    -- Null: as many as are wanted.
    total_available BIGINT,
    -- Grants that were ever made; it does not fall by itself.
    total_claimed   BIGINT NOT NULL DEFAULT 0,
    -- So many of it a user gets at most.
    user_limit      BIGINT NOT NULL DEFAULT 1 CHECK (user_limit > 0),
    status          TEXT   NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'paused', 'ended')),
    -- Granted from then on, and until before then.
    starts_at_ms    BIGINT,
    expires_at_ms   BIGINT,
    created_at_ms   BIGINT NOT NULL,
    CHECK (trigger_value > 0 OR (trigger_value IS NULL AND trigger_type IN ('milestone', 'manual')))
);

CREATE INDEX rewards_by_trigger ON rewards (campaign_id, trigger_type, status);

CREATE TABLE user_rewards (
    id                TEXT   PRIMARY KEY,
    -- No foreign key: what grants a reward may be quicker than the user's signup.
    user_id           TEXT   NOT NULL,
    reward_id         TEXT   NOT NULL REFERENCES rewards (id),
    campaign_id       TEXT   NOT NULL,
    -- The user's first, second and so on of this reward.
    ordinal           BIGINT NOT NULL DEFAULT 1 CHECK (ordinal > 0),
    status            TEXT   NOT NULL DEFAULT 'pending' CHECK (
        status IN ('pending', 'earned', 'delivered', 'redeemed', 'revoked', 'expired')),
    -- 1: it is one of the reward's total_claimed. A row that somebody has put here is not, until
    -- it is earned or delivered.
    is_counted        BIGINT NOT NULL DEFAULT 0,
    earned_at_ms      BIGINT,
    -- Stays when it is redeemed or revoked later.
    delivered_at_ms   BIGINT,
    delivery_attempts BIGINT NOT NULL DEFAULT 0,
    -- Why it is not delivered, if somebody has tried.
    delivery_error    TEXT,
    UNIQUE (user_id, reward_id, ordinal)
);

CREATE INDEX user_rewards_by_reward ON user_rewards (reward_id, status);
-- By the hour, UTC, as analytics counts them.
CREATE INDEX user_rewards_by_hour
    ON user_rewards (campaign_id, (delivered_at_ms / 3600000 * 3600000))
    WHERE delivered_at_ms IS NOT NULL;
