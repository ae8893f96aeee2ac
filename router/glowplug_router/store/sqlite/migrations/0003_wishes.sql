-- What people declared for a while: preheat leases and overrides. A JSON column holds the record as msgspec writes it.

CREATE TABLE wish (
    id              TEXT PRIMARY KEY,
    created_wall_ns INTEGER NOT NULL,
    wish            TEXT    NOT NULL
) WITHOUT ROWID;
