-- What is looked for among rows that are mostly of the past: phases that have not ended, slots whose steps are not added up.
CREATE INDEX phases_running ON phases (project, environment) WHERE ended_ms IS NULL;
CREATE INDEX slots_in_steps ON slots (phase_id) WHERE compacted_ms IS NULL;
