-- What a verdict says in a sentence. Verdicts from before have none.
ALTER TABLE verdicts ADD COLUMN summary TEXT COLLATE "C" NOT NULL DEFAULT '';
