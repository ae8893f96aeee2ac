-- What was done with a decision, the numbers it saw, and whether it was advice: a JSON column as msgspec writes it.

ALTER TABLE explain ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
