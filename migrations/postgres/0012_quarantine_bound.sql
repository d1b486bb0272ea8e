-- Numbers the quarantined events of each place, so that the one that a new one displaces is found without counting.
CREATE TABLE quarantine_places (
  tenant      TEXT COLLATE "C" NOT NULL,
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  drawn       BIGINT NOT NULL,
  PRIMARY KEY (tenant, project, environment)
);

ALTER TABLE quarantine ADD COLUMN place_no BIGINT NOT NULL DEFAULT 0;
UPDATE quarantine SET place_no = numbered.place_no FROM (
  SELECT quarantine_id, ROW_NUMBER() OVER (PARTITION BY tenant, project, environment ORDER BY quarantine_id) AS place_no
  FROM quarantine) AS numbered
WHERE numbered.quarantine_id = quarantine.quarantine_id;
INSERT INTO quarantine_places (tenant, project, environment, drawn)
  SELECT tenant, project, environment, MAX(place_no) FROM quarantine GROUP BY tenant, project, environment;
DELETE FROM quarantine WHERE place_no <= (
  SELECT drawn - 10000 FROM quarantine_places AS place
  WHERE place.tenant = quarantine.tenant AND place.project = quarantine.project
    AND place.environment = quarantine.environment);
CREATE UNIQUE INDEX quarantine_by_number ON quarantine (tenant, project, environment, place_no);
