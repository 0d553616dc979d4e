-- Checks of users for fraud: what was found, and what somebody has decided about it.

CREATE TABLE fraud_detections (
    id             TEXT   PRIMARY KEY,
    campaign_id    TEXT   NOT NULL,
    user_id        TEXT   NOT NULL,
    -- self_referral, fake_email, bot, suspicious_ip or velocity.
    detection_type TEXT   NOT NULL,
    -- From 0 to 1: how sure it is.
    confidence     DOUBLE PRECISION NOT NULL,
    -- JSON: the signs, each with its ground, its confidence and why.
    details        TEXT   NOT NULL,
    -- pending until somebody decides: confirmed, false_positive or resolved. Written by whoever
    -- serves the page for that; a check changes none but pending ones.
    status         TEXT   NOT NULL DEFAULT 'pending'
                   CHECK (status IN ('pending', 'confirmed', 'false_positive', 'resolved')),
    created_at_ms  BIGINT NOT NULL,
    updated_at_ms  BIGINT NOT NULL,
    UNIQUE (user_id, detection_type)
);

CREATE INDEX fraud_detections_by_status ON fraud_detections (campaign_id, status, confidence);

-- A user is blocked whom the signs speak against with so much together; null: nobody is, and what
-- is found is only written down. Below a half, innocence is likelier than fraud.
ALTER TABLE campaigns ADD COLUMN fraud_block_threshold DOUBLE PRECISION DEFAULT 0.9
    CHECK (fraud_block_threshold >= 0.5);

-- The address without what its mail system does not look at; null: not worked out yet.
ALTER TABLE waitlist_users ADD COLUMN mailbox TEXT;
-- What one household or office has of the internet: an IPv4 address, or the /64 of an IPv6 one.
-- Null: not known, or no public address.
ALTER TABLE waitlist_users ADD COLUMN network TEXT;
-- 1: a field of the form was filled in that people do not see.
ALTER TABLE waitlist_users ADD COLUMN honeypot BIGINT NOT NULL DEFAULT 0;
-- 1: blocked by a check. Stays where somebody lets the user in again by hand, who is then not
-- blocked any more.
ALTER TABLE waitlist_users ADD COLUMN blocked_by_fraud BIGINT NOT NULL DEFAULT 0;

CREATE INDEX waitlist_users_by_network ON waitlist_users (campaign_id, network, created_at_ms)
    WHERE network IS NOT NULL;
CREATE INDEX waitlist_users_by_device
    ON waitlist_users (campaign_id, device_fingerprint, created_at_ms)
    WHERE device_fingerprint IS NOT NULL;
CREATE INDEX waitlist_users_by_mailbox ON waitlist_users (campaign_id, mailbox)
    WHERE mailbox IS NOT NULL;
CREATE INDEX waitlist_users_by_referrer ON waitlist_users (referred_by_id)
    WHERE referred_by_id IS NOT NULL;

-- 1: invalid because the user who joined is blocked by a check; counts again if that ends.
ALTER TABLE referrals ADD COLUMN invalid_by_fraud BIGINT NOT NULL DEFAULT 0;
