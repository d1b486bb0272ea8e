-- What a verdict was made of beside cells, so that it can be made again bit for bit.
ALTER TABLE verdicts ADD COLUMN basis TEXT;
