-- Times are milliseconds since 1970, UTC.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value NOT NULL
);

-- Counts changes that running relays must hear of.
INSERT INTO meta VALUES ('revision', 0);

CREATE TABLE orgs (
    name    TEXT PRIMARY KEY,
    plan    TEXT NOT NULL,
    streams INTEGER,            -- its own limit, over that of the plan
    created INTEGER NOT NULL
);

CREATE TABLE keys (
    id        TEXT PRIMARY KEY,
    org       TEXT NOT NULL REFERENCES orgs (name),
    name      TEXT NOT NULL,
    hash      BLOB NOT NULL UNIQUE,
    scopes    TEXT NOT NULL,    -- separated by commas
    voices    TEXT,             -- a JSON list; every voice when NULL
    streams   INTEGER,
    created   INTEGER NOT NULL,
    expires   INTEGER,
    revoked   INTEGER,
    revision  INTEGER NOT NULL DEFAULT 0,  -- of its last change
    last_used INTEGER
);

CREATE INDEX keys_by_revision ON keys (revision);

CREATE TABLE usage (
    key        TEXT PRIMARY KEY REFERENCES keys (id),
    characters INTEGER NOT NULL,
    audio_ms   INTEGER NOT NULL,
    streams    INTEGER NOT NULL
);
