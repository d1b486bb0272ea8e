-- How much of what clients send is believed: from how many networks harmful events have to come before a fuse trips on
-- them, and how many units one key may enrol from one network in a minute (0: no limit).
ALTER TABLE environments ADD COLUMN min_networks BIGINT NOT NULL DEFAULT 3;
ALTER TABLE environments ADD COLUMN enrolments_per_minute BIGINT NOT NULL DEFAULT 600;

-- Where a window begins and ends among the slots of a phase, which end one after the other.
CREATE INDEX slots_by_end ON slots (phase_id, ends_ms);

-- What a quarantined event was about and who sent it, so that people look at groups and not at rows.
ALTER TABLE quarantine ADD COLUMN flag TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE quarantine ADD COLUMN sdk TEXT COLLATE "C" NOT NULL DEFAULT '';
