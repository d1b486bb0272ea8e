-- The log and the ids of additive events by day, so that a day that is over goes as a whole instead of row by row. What was
-- there before stays together in one partition and goes when its newest day is over. Housekeeping makes the partitions of
-- the days to come (`control-plane/src/store/days.rs`); the `rest` takes what finds none.
ALTER TABLE telemetry_log RENAME TO telemetry_log_before;
ALTER TABLE telemetry_log_before DROP CONSTRAINT telemetry_log_pkey;
ALTER TABLE telemetry_log_before DROP CONSTRAINT telemetry_log_partition_id_fkey;
CREATE TABLE telemetry_log (
  partition_id BIGINT NOT NULL REFERENCES partitions (partition_id) DEFERRABLE,
  seq          BIGINT NOT NULL,
  known_ms     BIGINT NOT NULL,
  facts        BYTEA NOT NULL,
  PRIMARY KEY (partition_id, seq, known_ms)
) PARTITION BY RANGE (known_ms);
ALTER TABLE event_ids RENAME TO event_ids_before;
ALTER TABLE event_ids_before DROP CONSTRAINT event_ids_pkey;
CREATE TABLE event_ids (
  partition_id BIGINT NOT NULL,
  day          BIGINT NOT NULL,
  id           BYTEA NOT NULL,
  PRIMARY KEY (partition_id, day, id)
) PARTITION BY RANGE (day);
DO $$
DECLARE
  through BIGINT;
BEGIN
  -- Through the day after the newest: what comes until the first housekeeping has a place.
  SELECT COALESCE(MAX(known_ms), 0) / 86400000 + 2 INTO through FROM telemetry_log_before;
  EXECUTE format('ALTER TABLE telemetry_log ATTACH PARTITION telemetry_log_before FOR VALUES FROM (MINVALUE) TO (%s)',
                 through * 86400000);
  SELECT GREATEST(through, COALESCE(MAX(day), 0) + 1) INTO through FROM event_ids_before;
  EXECUTE format('ALTER TABLE event_ids ATTACH PARTITION event_ids_before FOR VALUES FROM (MINVALUE) TO (%s)', through);
END $$;
CREATE TABLE telemetry_log_rest PARTITION OF telemetry_log DEFAULT;
CREATE TABLE event_ids_rest PARTITION OF event_ids DEFAULT;
