-- What a phase did not count, by the tick with which that became known: late enrolments, exposures in the quarantine, and of slots that
-- are over for every metric the units and those of them that were silent. The arms are compared by it.
CREATE TABLE misses (
  phase_id     BIGINT NOT NULL,
  closed_tick  BIGINT NOT NULL,
  kind         TEXT NOT NULL,
  arm          BIGINT NOT NULL,
  events       BIGINT NOT NULL,
  partition_id BIGINT NOT NULL,
  PRIMARY KEY (phase_id, closed_tick, kind, arm)
) WITHOUT ROWID;
CREATE INDEX misses_by_tick ON misses (partition_id, closed_tick);
