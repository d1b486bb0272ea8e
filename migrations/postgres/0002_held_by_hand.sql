-- A person who trips a fuse decides when it is tried again: 1 until a person moves it on.
ALTER TABLE fuses ADD COLUMN held_by_hand BIGINT NOT NULL DEFAULT 0;
