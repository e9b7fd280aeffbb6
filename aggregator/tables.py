"""What the aggregator keeps beside its ledger, as tables; the same in SQLite and in PostgreSQL.

Four kinds of state. In the aggregator's folder each is a file of its own; on a server all of them
lie in one database. How an older layout becomes this one is said in `aggregator/migrations`.
"""

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

_schema: Final = sa.MetaData()

_Whole: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # there 64 bits, and the row id
_Moment: Final[sa.types.TypeEngine[float]] = sa.Double().with_variant(sa.REAL, "sqlite")
_Text: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # ordered as bytes are


def _key(name: str, kind: Any = _Text) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _column(name: str, kind: Any = _Text, **said: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, **said)


def _strict(name: str, *columns: Any, **said: Any) -> sa.Table:
    return sa.Table(name, _schema, *columns, sqlite_strict=True, **said)


version: Final = sa.Table(
    "entrepot_version", _schema, sa.Column("version_num", sa.String(32), primary_key=True)
)
"""The revision that the tables are of, as alembic keeps it; on a server also whose they are."""

invitations: Final = _strict(
    "invitations",
    _key("id"),
    *(_column(name) for name in ("secret", "party", "organisation", "role", "jurisdiction")),
    _column("expires", _Whole),
    _column("wrong", _Whole, server_default=sa.text("0")),
)
enrolments: Final = _strict(
    "enrolments",
    _key("invitation"),
    _column("party", unique=True),
    _column("identity", unique=True),
    _column("wire", sa.LargeBinary),
    _column("certificate"),
)
founding: Final = _strict("founding", _key("only", _Whole), _column("statement", sa.LargeBinary))
signatures: Final = _strict(
    "signatures", _key("statement"), _key("party"), _column("signature", sa.LargeBinary)
)
streams: Final = _strict(
    "streams", _key("party"), _column("key", sa.LargeBinary), sa.Column("before", sa.LargeBinary)
)
asked: Final = _strict("asked", _key("party"), _key("key", sa.LargeBinary))

jobs: Final = sa.Table(
    "jobs",
    _schema,
    _key("id"),
    _column("wire", sa.LargeBinary),
    _column("status"),
    _column("created", _Moment),
    sa.Column("result", _Text),
    _column("arrived", _Whole, server_default=sa.text("0")),
)
notes: Final = sa.Table(
    "notes",
    _schema,
    sa.Column("number", _Whole, primary_key=True),
    _column("job"),  # or a batch of keys
    _column("note"),
    sa.Index("notes_job", "job"),
)
rounds: Final = sa.Table(
    "rounds",
    _schema,
    _key("job"),
    _key("round", _Whole),
    _column("weights", sa.LargeBinary),
    _column("velocity", sa.LargeBinary),
    _column("parties"),
)
epochs: Final = sa.Table("epochs", _schema, _key("job"), _column("keys", sa.LargeBinary))
gatherings: Final = sa.Table(
    "gatherings",
    _schema,
    _key("job"),
    _key("round", _Whole),
    _column("state", sa.LargeBinary),
)
starts: Final = sa.Table("starts", _schema, _key("job"), _column("count", _Whole))
waits: Final = sa.Table("waits", _schema, _key("job"), _column("due", _Moment))
proposals: Final = sa.Table("proposals", _schema, _key("job"), _key("party"), _column("said"))

batches: Final = _strict(
    "batches",
    _key("id"),
    _column("ended", _Whole, server_default=sa.text("0")),
    sqlite_with_rowid=False,
)
packages: Final = _strict(
    "packages",
    sa.Column("number", _Whole, primary_key=True),
    _column("key", unique=True),
    _column("package", sa.LargeBinary),
    sa.Column("job", _Text, unique=True),
)
letters: Final = _strict(
    "letters", _key("batch"), _key("step"), _key("party"), _column("part", sa.LargeBinary)
)

parts: Final = _strict(
    "parts", _key("job"), _key("step"), _key("party"), _column("part", sa.LargeBinary)
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of state: what its file is called, and which tables it is made of."""

    file: str
    tables: tuple[sa.Table, ...]


REGISTER: Final = Kind(
    "membership.sqlite", (invitations, enrolments, founding, signatures, streams, asked)
)
JOBS: Final = Kind(
    "jobs.sqlite", (jobs, notes, rounds, epochs, gatherings, starts, waits, proposals)
)
KEYS: Final = Kind("keys.sqlite", (batches, packages, letters))
QUESTIONS: Final = Kind("questions.sqlite", (parts,))
KINDS: Final = (REGISTER, JOBS, KEYS, QUESTIONS)

_ONE: Final = "a key is handed to one order"
_NEVER: Final = "a key is never forgotten"
_REFUSE: Final = """
CREATE OR REPLACE FUNCTION packages_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = TG_ARGV[0]; END $$
"""
GUARDS: Final = {
    "sqlite": (
        f"""CREATE TRIGGER packages_serve_one BEFORE UPDATE OF job ON packages
        WHEN old.job IS NOT NULL AND new.job IS NOT old.job
        BEGIN SELECT RAISE(ABORT, '{_ONE}'); END""",
        f"""CREATE TRIGGER packages_stay BEFORE DELETE ON packages
        BEGIN SELECT RAISE(ABORT, '{_NEVER}'); END""",
    ),
    "postgresql": (
        _REFUSE,
        f"""CREATE TRIGGER packages_serve_one BEFORE UPDATE OF job ON packages FOR EACH ROW
        WHEN (old.job IS NOT NULL AND new.job IS DISTINCT FROM old.job)
        EXECUTE FUNCTION packages_keep('{_ONE}')""",
        f"""CREATE TRIGGER packages_stay BEFORE DELETE OR TRUNCATE ON packages FOR EACH STATEMENT
        EXECUTE FUNCTION packages_keep('{_NEVER}')""",
    ),
}
"""By dialect: what the database itself refuses, whoever asks."""


def create(connection: Connection, kinds: tuple[Kind, ...]) -> None:
    """Make the tables of these kinds where there is none of them."""
    wanted = [table for kind in kinds for table in kind.tables]
    _schema.create_all(connection, [version, *wanted], checkfirst=False)


def _guard(_: sa.Table, connection: Connection, **__: Any) -> None:
    for statement in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


event.listen(packages, "after_create", _guard)
