-- Moving averages follow from closed cells alone: nothing of them is kept with the fuse.
ALTER TABLE fuses DROP COLUMN ema;
ALTER TABLE fuses DROP COLUMN ema_ms;
