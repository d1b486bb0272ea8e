-- Whether a buffer's edge has a secret for tickets; null of one that does not say.
ALTER TABLE buffers ADD COLUMN has_tickets BIGINT;
