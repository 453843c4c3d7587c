-- How far the recording went, as its recorder signed it. Kept where the recorder cannot write, and never changed.
CREATE TABLE checkpoints (
    number   INTEGER PRIMARY KEY,
    root     BLOB NOT NULL,
    signed   TEXT NOT NULL,
    taken_at INTEGER NOT NULL
);
CREATE TRIGGER checkpoints_are_not_changed BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are never changed'); END;
CREATE TRIGGER checkpoints_are_not_forgotten BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are never forgotten'); END;
CREATE TRIGGER checkpoints_are_not_replaced BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'checkpoints are never replaced'); END;
