-- What was counted before cells is dropped: events and facts by unit, and tallies by minute, which later events rewrote. It
-- cannot become cells, since nobody knows any more when it became known. Phases go on under their numbers and count anew
-- from their next event; verdicts keep the numbers that they rested on.
DROP TABLE corrections;
DROP TABLE tallies;
DROP TABLE facts;
DROP TABLE exposures;
DROP TABLE events;
