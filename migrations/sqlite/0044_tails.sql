-- The change feed looks for receipts by when they came.
CREATE INDEX acks_by_time ON acks (acked_ms);
CREATE INDEX receipts_by_refusal ON receipts (nack_ms);
