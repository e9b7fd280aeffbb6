"""An aggregator's folder as it was before revisions were counted: its SQL as it stood, and rows."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

SCHEMAS: Final = {
    "membership.sqlite": """
CREATE TABLE IF NOT EXISTS invitations (
    id TEXT PRIMARY KEY, secret TEXT NOT NULL, party TEXT NOT NULL, organisation TEXT NOT NULL,
    role TEXT NOT NULL, jurisdiction TEXT NOT NULL, expires INTEGER NOT NULL,
    wrong INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS enrolments (
    invitation TEXT PRIMARY KEY, party TEXT NOT NULL UNIQUE, identity TEXT NOT NULL UNIQUE,
    wire BLOB NOT NULL, certificate TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS founding (only INTEGER PRIMARY KEY, statement BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS signatures (
    statement TEXT NOT NULL, party TEXT NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (statement, party)) STRICT;
""",
    "jobs.sqlite": """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, wire BLOB NOT NULL, status TEXT NOT NULL, created REAL NOT NULL,
    result TEXT);
CREATE TABLE IF NOT EXISTS notes (
    number INTEGER PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs(id), note TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS notes_job ON notes(job);
CREATE TABLE IF NOT EXISTS rounds (
    job TEXT NOT NULL REFERENCES jobs(id), round INTEGER NOT NULL, weights BLOB NOT NULL,
    velocity BLOB NOT NULL, parties TEXT NOT NULL, PRIMARY KEY (job, round));
CREATE TABLE IF NOT EXISTS epochs (
    job TEXT PRIMARY KEY REFERENCES jobs(id), keys BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS gatherings (
    job TEXT NOT NULL REFERENCES jobs(id), round INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (job, round));
CREATE TABLE IF NOT EXISTS starts (
    job TEXT PRIMARY KEY REFERENCES jobs(id), count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS waits (
    job TEXT PRIMARY KEY REFERENCES jobs(id), due REAL NOT NULL);
CREATE TABLE IF NOT EXISTS proposals (
    job TEXT NOT NULL REFERENCES jobs(id), party TEXT NOT NULL, said TEXT NOT NULL,
    PRIMARY KEY (job, party));
""",
    "keys.sqlite": """
CREATE TABLE IF NOT EXISTS batches (
    id TEXT NOT NULL PRIMARY KEY, ended INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packages (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, package BLOB NOT NULL, job TEXT UNIQUE)
    STRICT;
CREATE TABLE IF NOT EXISTS letters (
    batch TEXT NOT NULL, step TEXT NOT NULL, party TEXT NOT NULL, part BLOB NOT NULL,
    PRIMARY KEY (batch, step, party)) STRICT;
CREATE TRIGGER IF NOT EXISTS packages_serve_one BEFORE UPDATE OF job ON packages
    WHEN old.job IS NOT NULL AND new.job IS NOT old.job
    BEGIN SELECT RAISE(ABORT, 'a key is handed to one order'); END;
CREATE TRIGGER IF NOT EXISTS packages_stay BEFORE DELETE ON packages
    BEGIN SELECT RAISE(ABORT, 'a key is never forgotten'); END;
""",
    "questions.sqlite": """
CREATE TABLE IF NOT EXISTS parts (
    job TEXT NOT NULL, step TEXT NOT NULL, party TEXT NOT NULL, part BLOB NOT NULL,
    PRIMARY KEY (job, step, party)) STRICT;
""",
}

ROWS: Final = {
    "membership.sqlite": (
        "INSERT INTO invitations VALUES ('i1', 's', 'cn', 'CN Ltd', 'warehouse', 'CN', 99, 2)",
        "INSERT INTO enrolments VALUES ('i1', 'cn', 'key', x'01', 'pem')",
        "INSERT INTO founding VALUES (1, x'02')",
        "INSERT INTO signatures VALUES ('d', 'cn', x'03')",
    ),
    "jobs.sqlite": (
        *(
            f"INSERT INTO jobs (id, wire, status, created) VALUES ('{name}', x'04', 'queued', 1.5)"
            for name in ("c", "a", "b")  # in one moment, in this order
        ),
        "INSERT INTO notes (job, note) VALUES ('c', '{\"stage\": \"round\"}')",
        "INSERT INTO rounds VALUES ('c', 3, x'05', x'06', '[\"cn\"]')",
        "INSERT INTO epochs VALUES ('c', x'07')",
        "INSERT INTO gatherings VALUES ('c', 3, x'08')",
        "INSERT INTO starts VALUES ('c', 1)",
        "INSERT INTO waits VALUES ('c', 0.5)",
        "INSERT INTO proposals VALUES ('c', 'cn', '{\"yes\": 1}')",
    ),
    "keys.sqlite": (
        "INSERT INTO batches (id) VALUES ('begun')",
        "INSERT INTO packages (key, package, job) VALUES ('k1', x'09', 'c')",
        "INSERT INTO packages (key, package) VALUES ('k2', x'0a')",
        "INSERT INTO letters VALUES ('begun', 'keys.join', 'cn', x'0b')",
    ),
    "questions.sqlite": ("INSERT INTO parts VALUES ('c', 'committed', 'cn', x'0c')",),
}


def write(folder: Path) -> None:
    """Leave in `folder` what an earlier version left."""
    for name, schema in SCHEMAS.items():
        with closing(sqlite3.connect(folder / name)) as db, db:
            db.executescript(f"PRAGMA journal_mode = WAL; {schema}")
            for row in ROWS[name]:
                db.execute(row)
