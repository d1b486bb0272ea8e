-- PostgreSQL keeps the log and the ids of additive events by day from here on. A file has one table of each, as before.
SELECT 1;
