-- Where a ramp stood when a verdict was given, and what its next stage waited for; null of fuses without one.
ALTER TABLE verdicts ADD COLUMN ramp TEXT;
