-- How much of what clients send is believed: from how many networks harmful events have to come before a fuse trips on
-- them, and how many units one key may enrol from one network in a minute (0: no limit).
ALTER TABLE environments ADD COLUMN min_networks BIGINT NOT NULL DEFAULT 3;
ALTER TABLE environments ADD COLUMN enrolments_per_minute BIGINT NOT NULL DEFAULT 600;

-- Where a window begins and ends among the slots of a phase, which end one after the other.
CREATE INDEX slots_by_end ON slots (phase_id, ends_ms);

-- What a quarantined event was about and who sent it: people look at groups and not at rows, and a replay counts it with
-- no more trust than it came with.
ALTER TABLE quarantine ADD COLUMN flag TEXT NOT NULL DEFAULT '';
ALTER TABLE quarantine ADD COLUMN sdk TEXT NOT NULL DEFAULT '';
ALTER TABLE quarantine ADD COLUMN source TEXT NOT NULL DEFAULT 'none';
ALTER TABLE quarantine ADD COLUMN network BIGINT NOT NULL DEFAULT 0;
ALTER TABLE quarantine ADD COLUMN is_bot BIGINT NOT NULL DEFAULT 0;
