-- Everything the first release keeps. JSON columns hold records as msgspec writes them.

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row: the epoch of the controller that may write now.
CREATE TABLE epoch (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    holder TEXT NOT NULL
);
INSERT INTO epoch (one, number, holder) VALUES (1, 0, '');

CREATE TABLE bundle (
    digest   TEXT PRIMARY KEY,
    manifest TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE version (
    app             TEXT    NOT NULL,
    endpoint        TEXT    NOT NULL,
    number          INTEGER NOT NULL,
    digest          TEXT    NOT NULL,
    spec            TEXT    NOT NULL,
    bundle_digest   TEXT    NOT NULL REFERENCES bundle (digest),
    created_wall_ns INTEGER NOT NULL,
    PRIMARY KEY (app, endpoint, number),
    UNIQUE (app, endpoint, digest)
);

-- The highest generation of an app is the live one.
CREATE TABLE deployment (
    app             TEXT    NOT NULL,
    generation      INTEGER NOT NULL,
    routes          TEXT    NOT NULL,
    stopped         INTEGER NOT NULL,
    message         TEXT    NOT NULL,
    git_sha         TEXT    NOT NULL,
    created_wall_ns INTEGER NOT NULL,
    rollback_of     INTEGER NOT NULL,
    policies        TEXT    NOT NULL,
    PRIMARY KEY (app, generation)
) WITHOUT ROWID;

CREATE TABLE policy (
    app      TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    policy   TEXT NOT NULL,
    PRIMARY KEY (app, endpoint)
) WITHOUT ROWID;

CREATE TABLE key (
    id              TEXT PRIMARY KEY,
    mac             TEXT    NOT NULL,
    tenant          TEXT    NOT NULL,
    scopes          TEXT    NOT NULL,
    created_wall_ns INTEGER NOT NULL,
    name            TEXT    NOT NULL,
    expires_wall_ns INTEGER NOT NULL,
    revoked         INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE intent (
    row             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    kind            TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    epoch           INTEGER NOT NULL,
    deadline_wall_ns INTEGER NOT NULL,
    created_wall_ns INTEGER NOT NULL,
    state           TEXT    NOT NULL,
    detail          TEXT    NOT NULL
);
CREATE INDEX intent_open ON intent (row) WHERE state = 'open';

CREATE TABLE explain (
    row            INTEGER PRIMARY KEY,
    wall_ns        INTEGER NOT NULL,
    subject        TEXT    NOT NULL,
    rule           TEXT    NOT NULL,
    text           TEXT    NOT NULL,
    replicas_ready  INTEGER NOT NULL,
    replicas_wanted INTEGER NOT NULL
);
CREATE INDEX explain_subject ON explain (subject, row);
