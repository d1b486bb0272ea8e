-- Events counted into cells that are written once. `docs/events.md` says what counts when; `control-plane/cells` decides it.

-- The events of one environment, and who counts them: one control plane at a time. `fence` rises with every change of
-- hands; whoever writes for a partition holds the fence it took, or writes nothing.
CREATE TABLE partitions (
  partition_id INTEGER PRIMARY KEY,
  project      TEXT NOT NULL,
  environment  TEXT NOT NULL,
  fence        BIGINT NOT NULL DEFAULT 0,
  owner        TEXT NOT NULL DEFAULT '',
  address      TEXT NOT NULL DEFAULT '',
  until_ms     BIGINT NOT NULL DEFAULT 0,
  log_seq      BIGINT NOT NULL DEFAULT 0,
  closed_tick  BIGINT NOT NULL DEFAULT 0,
  UNIQUE (project, environment)
);

-- What happened, in the order in which it became known: the truth from which everything in memory is rebuilt. A row holds
-- the facts of a group of batches, or of a tick. Kept for 30 days, and since the newest checkpoint at least.
CREATE TABLE telemetry_log (
  partition_id BIGINT NOT NULL REFERENCES partitions (partition_id),
  seq          BIGINT NOT NULL,
  known_ms     BIGINT NOT NULL,
  facts        BLOB NOT NULL,
  PRIMARY KEY (partition_id, seq)
);

-- What memory held of a partition after the log row `log_seq`, in parts. The newest generation whose `parts` are all there
-- counts; the one before goes then.
CREATE TABLE checkpoints (
  partition_id BIGINT NOT NULL REFERENCES partitions (partition_id),
  generation   BIGINT NOT NULL,
  log_seq      BIGINT NOT NULL,
  parts        BIGINT NOT NULL,
  begun_ms     BIGINT NOT NULL,
  is_complete  BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (partition_id, generation)
) WITHOUT ROWID;
CREATE TABLE checkpoint_parts (
  partition_id BIGINT NOT NULL,
  generation   BIGINT NOT NULL,
  part         BIGINT NOT NULL,
  states       BLOB NOT NULL,
  PRIMARY KEY (partition_id, generation, part)
);

-- The rules under which a phase counts, as they were when its first event came: JSON, with the names of its metrics and slices.
CREATE TABLE phase_rules (
  phase_id     BIGINT PRIMARY KEY REFERENCES phases (phase_id),
  partition_id BIGINT NOT NULL REFERENCES partitions (partition_id),
  rules        TEXT NOT NULL
);
CREATE INDEX phase_rules_by_partition ON phase_rules (partition_id);

-- Enrolment periods of a phase. `closed_step` is the newest step that has cells; `compacted_ms` is null until old cells are
-- added up.
CREATE TABLE slots (
  phase_id     BIGINT NOT NULL REFERENCES phases (phase_id),
  slot         BIGINT NOT NULL,
  starts_ms    BIGINT NOT NULL,
  ends_ms      BIGINT NOT NULL,
  closed_tick  BIGINT NOT NULL,
  closed_step  BIGINT NOT NULL DEFAULT -1,
  compacted_ms BIGINT,
  PRIMARY KEY (phase_id, slot)
) WITHOUT ROWID;

-- Counts of a closed (slot, step), never written again. Metric 0 are the enrolled units; `arm` is 0 for control, 1 for exposed;
-- slice 0 is everybody, 1 the bots, the others stand in the phase's rules. No row: nothing happened.
CREATE TABLE cells (
  phase_id     BIGINT NOT NULL,
  slot         BIGINT NOT NULL,
  step         BIGINT NOT NULL,
  metric       BIGINT NOT NULL,
  slice        BIGINT NOT NULL,
  arm          BIGINT NOT NULL,
  units        BIGINT NOT NULL,
  events       BIGINT NOT NULL,
  total_micros BIGINT NOT NULL,
  closed_tick  BIGINT NOT NULL,
  partition_id BIGINT NOT NULL,
  PRIMARY KEY (phase_id, slot, step, metric, slice, arm)
) WITHOUT ROWID;
CREATE INDEX cells_by_tick ON cells (partition_id, closed_tick);

-- The cells of a slot added up over its steps, in the transaction that closes them: for long readings and charts.
CREATE TABLE sums (
  phase_id     BIGINT NOT NULL,
  metric       BIGINT NOT NULL,
  slice        BIGINT NOT NULL,
  slot         BIGINT NOT NULL,
  arm          BIGINT NOT NULL,
  units        BIGINT NOT NULL,
  events       BIGINT NOT NULL,
  total_micros BIGINT NOT NULL,
  PRIMARY KEY (phase_id, metric, slice, slot, arm)
) WITHOUT ROWID;

-- One value for each unit of a matured slot: its latency sample's or its value's bin. Written once.
CREATE TABLE spreads (
  phase_id     BIGINT NOT NULL,
  slot         BIGINT NOT NULL,
  metric       BIGINT NOT NULL,
  slice        BIGINT NOT NULL,
  arm          BIGINT NOT NULL,
  bin          BIGINT NOT NULL,
  units        BIGINT NOT NULL,
  closed_tick  BIGINT NOT NULL,
  partition_id BIGINT NOT NULL,
  PRIMARY KEY (phase_id, slot, metric, slice, arm, bin)
) WITHOUT ROWID;
CREATE INDEX spreads_by_tick ON spreads (partition_id, closed_tick);

-- Networks (keyed hashes of address prefixes) from which a metric's events of an arm came, up to a bound.
CREATE TABLE networks (
  phase_id BIGINT NOT NULL,
  metric   BIGINT NOT NULL,
  arm      BIGINT NOT NULL,
  network  BIGINT NOT NULL,
  source   BIGINT NOT NULL,
  PRIMARY KEY (phase_id, metric, arm, network, source)
) WITHOUT ROWID;

-- What a phase did not count, by arm and kind: corrections, late enrolments and outcomes, silent units, quarantined events.
CREATE TABLE phase_counters (
  phase_id BIGINT NOT NULL REFERENCES phases (phase_id),
  arm      BIGINT NOT NULL,
  kind     TEXT NOT NULL,
  events   BIGINT NOT NULL,
  PRIMARY KEY (phase_id, arm, kind)
) WITHOUT ROWID;

-- Ids of additive events within the dedupe horizon, by the day on which they happened.
CREATE TABLE event_ids (
  partition_id BIGINT NOT NULL,
  day          BIGINT NOT NULL,
  id           BLOB NOT NULL,
  PRIMARY KEY (partition_id, day, id)
) WITHOUT ROWID;

-- Units whose data was erased; what arrives of them later is not counted.
CREATE TABLE erasures (
  partition_id BIGINT NOT NULL REFERENCES partitions (partition_id),
  unit         BLOB NOT NULL,
  asked_ms     BIGINT NOT NULL,
  done_ms      BIGINT,
  PRIMARY KEY (partition_id, unit)
) WITHOUT ROWID;

-- Up to when a buffer has delivered everything it took; null for edges that do not say.
ALTER TABLE buffers ADD COLUMN delivered_through_ms BIGINT;
ALTER TABLE buffers ADD COLUMN queue TEXT NOT NULL DEFAULT '';
ALTER TABLE buffers ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE buffers ADD COLUMN last_event_ms BIGINT NOT NULL DEFAULT 0;

-- A closed cell is never written again, by whatever program.
CREATE TRIGGER cells_close BEFORE INSERT ON cells
WHEN NEW.step <= (SELECT closed_step FROM slots WHERE phase_id = NEW.phase_id AND slot = NEW.slot AND compacted_ms IS NULL)
BEGIN SELECT RAISE(ABORT, 'a closed cell is never written again'); END;
CREATE TRIGGER cells_stand BEFORE UPDATE ON cells
BEGIN SELECT RAISE(ABORT, 'a closed cell is never written again'); END;
CREATE TRIGGER cells_stay BEFORE DELETE ON cells
WHEN EXISTS (SELECT 1 FROM slots WHERE phase_id = OLD.phase_id AND slot = OLD.slot AND compacted_ms IS NULL)
BEGIN SELECT RAISE(ABORT, 'a closed cell is never written again'); END;
CREATE TRIGGER spreads_stand BEFORE UPDATE ON spreads
BEGIN SELECT RAISE(ABORT, 'a closed cell is never written again'); END;
CREATE TRIGGER steps_close_in_order BEFORE UPDATE OF closed_step ON slots WHEN NEW.closed_step < OLD.closed_step
BEGIN SELECT RAISE(ABORT, 'a closed step is never opened again'); END;
