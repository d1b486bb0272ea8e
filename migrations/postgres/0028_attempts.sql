-- Which attempt a phase is of, and which of its stages: until now each phase that exposed anybody was an attempt of one stage.
ALTER TABLE phases ADD COLUMN attempt BIGINT NOT NULL DEFAULT 0;
ALTER TABLE phases ADD COLUMN stage BIGINT NOT NULL DEFAULT 0;
UPDATE phases SET
  stage = CASE WHEN slices LIKE '%"exposed"%' THEN 1 ELSE 0 END,
  attempt = (SELECT COUNT(*) FROM phases earlier
             WHERE earlier.project = phases.project AND earlier.environment = phases.environment
               AND earlier.flag = phases.flag AND earlier.phase <= phases.phase AND earlier.slices LIKE '%"exposed"%');

-- Whether a person keeps a ramp at the stage where it stands.
ALTER TABLE fuses ADD COLUMN ramp_held BIGINT NOT NULL DEFAULT 0;
