-- How often the index was thrown away: whoever reads it can tell that it stayed the same one.
ALTER TABLE dead_letter_progress ADD COLUMN rebuilds BIGINT NOT NULL DEFAULT 0;

-- What has outlived its retention is found by its time.
CREATE INDEX dead_letter_resolutions_by_time ON dead_letter_resolutions (changed_at_ms);
CREATE INDEX offset_resets_by_time ON offset_resets (at_ms);
CREATE INDEX claims_by_time ON claims (claimed_at_ms);
CREATE INDEX replays_by_end ON replays (finished_at_ms);
