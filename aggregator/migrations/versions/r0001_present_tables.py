"""The tables as they were when revisions began to be counted.

Files of those days have them already, or most of them: what is there stays. They name tables that
others refer to; nobody held them to it, and notes are about batches of keys too.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None

WHOLE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOMENT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL, "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BYTES = sa.LargeBinary()

SERVE_ONE = "a key is handed to one order"
STAY = "a key is never forgotten"
REFUSE = """
CREATE OR REPLACE FUNCTION packages_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = TG_ARGV[0]; END $$
"""
GUARDS = {
    "sqlite": (
        f"""CREATE TRIGGER IF NOT EXISTS packages_serve_one BEFORE UPDATE OF job ON packages
        WHEN old.job IS NOT NULL AND new.job IS NOT old.job
        BEGIN SELECT RAISE(ABORT, '{SERVE_ONE}'); END""",
        f"""CREATE TRIGGER IF NOT EXISTS packages_stay BEFORE DELETE ON packages
        BEGIN SELECT RAISE(ABORT, '{STAY}'); END""",
    ),
    "postgresql": (
        REFUSE,
        f"""CREATE TRIGGER packages_serve_one BEFORE UPDATE OF job ON packages FOR EACH ROW
        WHEN (old.job IS NOT NULL AND new.job IS DISTINCT FROM old.job)
        EXECUTE FUNCTION packages_keep('{SERVE_ONE}')""",
        f"""CREATE TRIGGER packages_stay BEFORE DELETE OR TRUNCATE ON packages FOR EACH STATEMENT
        EXECUTE FUNCTION packages_keep('{STAY}')""",
    ),
}


def upgrade() -> None:
    """Make every table that belongs here and is not there."""
    wanted = context.config.attributes["tables"]
    for name, columns, said in tables():
        if name in wanted:
            op.create_table(name, *columns, if_not_exists=True, **said)
    if "notes" in wanted:
        op.create_index("notes_job", "notes", ["job"], if_not_exists=True)
    if "packages" in wanted:
        for guard in GUARDS[op.get_context().dialect.name]:
            op.execute(guard)


def tables() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Give the name, the columns and what else SQLite is told of each table."""
    strict = {"sqlite_strict": True}
    texts = ("secret", "party", "organisation", "role", "jurisdiction")
    yield (
        "invitations",
        (key("id"), *map(column, texts), column("expires", WHOLE), zero("wrong")),
        strict,
    )
    unique = (column("party", unique=True), column("identity", unique=True))
    yield (
        "enrolments",
        (key("invitation"), *unique, column("wire", BYTES), column("certificate")),
        strict,
    )
    yield "founding", (key("only", WHOLE), column("statement", BYTES)), strict
    yield "signatures", (key("statement"), key("party"), column("signature", BYTES)), strict

    rest = (column("status"), column("created", MOMENT), sa.Column("result", TEXT))
    yield "jobs", (key("id"), column("wire", BYTES), *rest), {}
    yield "notes", (sa.Column("number", WHOLE, primary_key=True), column("job"), column("note")), {}
    state = (column("weights", BYTES), column("velocity", BYTES), column("parties"))
    yield "rounds", (key("job"), key("round", WHOLE), *state), {}
    yield "epochs", (key("job"), column("keys", BYTES)), {}
    yield "gatherings", (key("job"), key("round", WHOLE), column("state", BYTES)), {}
    yield "starts", (key("job"), column("count", WHOLE)), {}
    yield "waits", (key("job"), column("due", MOMENT)), {}
    yield "proposals", (key("job"), key("party"), column("said")), {}

    yield "batches", (key("id"), zero("ended")), strict | {"sqlite_with_rowid": False}
    made = (column("key", unique=True), column("package", BYTES))
    served = sa.Column("job", TEXT, unique=True)
    yield "packages", (sa.Column("number", WHOLE, primary_key=True), *made, served), strict
    yield "letters", (key("batch"), key("step"), key("party"), column("part", BYTES)), strict

    yield "parts", (key("job"), key("step"), key("party"), column("part", BYTES)), strict


def key(name: str, kind: Any = TEXT) -> sa.Column[Any]:
    """Return a column of a primary key."""
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def column(name: str, kind: Any = TEXT, **said: Any) -> sa.Column[Any]:
    """Return a column that always has a value."""
    return sa.Column(name, kind, nullable=False, **said)


def zero(name: str) -> sa.Column[Any]:
    """Return a count that begins with none."""
    return column(name, WHOLE, server_default=sa.text("0"))
