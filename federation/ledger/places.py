"""Where a ledger lies, as an operator says it, and whose a database on a server is.

A file is its folder's. A database has no folder, so it says itself whose it is: whoever opens it
first owns it, and two parties never write into one.
"""

from importlib import import_module
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from federation.engines import reading, writing
from federation.errors import ForeignLedgerError
from federation.ledger.database import layout, named, telling


def place_of(text: object, file: Path) -> Path | str:
    """Return where an operator wants something kept: in `file`, or at the URL `text` if any.

    Raises:
        ForeignLedgerError: it is not the URL of a PostgreSQL database, its driver is missing, or
            `file` is there too. The sentence does not repeat the URL: a password may stand in it.
    """
    if text is None:
        return file
    advice = "write postgresql://USER@HOST/DATABASE, or leave it out for a file in the folder"
    try:
        url = sa.make_url(str(text))
    except (sa.exc.ArgumentError, ValueError):
        raise ForeignLedgerError(f"what it names is not the URL of a database; {advice}") from None
    if url.get_backend_name() != "postgresql":
        raise ForeignLedgerError(f"it lives in SQLite or PostgreSQL; {advice}")
    try:
        import_module("psycopg")
    except ImportError as why:
        raise ForeignLedgerError("PostgreSQL needs its driver; install entrepot[postgres]") from why
    if file.exists():
        raise ForeignLedgerError(
            f"it names a database, and {file.name} lies in the folder; what that says is not "
            f"carried over: keep the one that was written to last and take the other away"
        )
    return str(text)


def claim(engine: Engine, origin: str) -> None:
    """The database on a server is that of the log `origin` from now on; a file is its folder's.

    Raises:
        ForeignLedgerError: it is another's.
    """
    if engine.dialect.name != "postgresql":
        return
    with telling(engine.url), writing(engine) as connection:
        if _owner(connection) is None:
            named = sa.Table(layout.name, sa.MetaData(), comment=origin)
            connection.execute(sa.schema.SetTableComment(named))
    require_owner(engine, origin)


def require_owner(engine: Engine, origin: str) -> None:
    """Accept a database that is a file, or on a server that of the log `origin`.

    Raises:
        ForeignLedgerError: it is another's.
    """
    if engine.dialect.name != "postgresql":
        return
    with telling(engine.url), reading(engine) as connection:
        owner = _owner(connection)
    if owner not in {None, origin}:
        raise ForeignLedgerError(
            f"{named(engine.url)} holds the ledger of {owner}, not of {origin}; give every party "
            f"a database of its own"
        )


def _owner(connection: Connection) -> str | None:
    known: str | None = sa.inspect(connection).get_table_comment(layout.name)["text"]
    return known
