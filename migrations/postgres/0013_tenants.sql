-- Project keys are their tenant's: the columns `project` hold `tenant/project` from here on. Foreign keys name the new
-- values again when all tables have been gone through, projects last, since they say which tenant a project is of.
SET CONSTRAINTS ALL DEFERRED;

-- Receipts may be of environments that this database never had. No tenant can be told for them, and the next hello of
-- their replica writes them anew.
DELETE FROM receipts WHERE project NOT IN (SELECT project FROM projects);
DELETE FROM acks WHERE project NOT IN (SELECT project FROM projects);
DELETE FROM forks WHERE project NOT IN (SELECT project FROM projects);

UPDATE flags SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = flags.project;
UPDATE fuses SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = fuses.project;
UPDATE phases SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = phases.project;
UPDATE snapshots SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = snapshots.project;
UPDATE receipts SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = receipts.project;
UPDATE acks SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = acks.project;
UPDATE forks SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = forks.project;
UPDATE events SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = events.project;
UPDATE plain_exposures SET project = p.tenant || '/' || p.project FROM projects p
  WHERE p.project = plain_exposures.project;
UPDATE verdicts SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = verdicts.project;
UPDATE shared_parts SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = shared_parts.project;
UPDATE project_flags SET project = p.tenant || '/' || p.project FROM projects p
  WHERE p.project = project_flags.project;
UPDATE inherited_flags SET project = p.tenant || '/' || p.project FROM projects p
  WHERE p.project = inherited_flags.project;
UPDATE usage SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = usage.project;
UPDATE keyset_publications SET project = p.tenant || '/' || p.project FROM projects p
  WHERE p.project = keyset_publications.project;
UPDATE buffers SET project = p.tenant || '/' || p.project FROM projects p WHERE p.project = buffers.project;

-- These name the tenant themselves, and some a project that does not exist.
UPDATE environments SET project = tenant || '/' || project;
UPDATE tokens SET project = tenant || '/' || project WHERE project IS NOT NULL;
UPDATE audit SET project = tenant || '/' || project WHERE project IS NOT NULL;
UPDATE quarantine SET project = tenant || '/' || project;
UPDATE quarantine_places SET project = tenant || '/' || project;
UPDATE balance SET project = tenant || '/' || project;
UPDATE projects SET project = tenant || '/' || project;

-- Now, since a table with checks ahead of it cannot be altered in the same transaction.
SET CONSTRAINTS ALL IMMEDIATE;
