"""Carries the aggregator's state over to the newest revision of its tables.

A revision is one module of `aggregator/migrations/versions`; alembic runs those that are missing,
in one transaction of the one writer: cut off at whatever moment, the old tables are there with the
old revision, or the new ones with the new. Whoever comes second finds the work done.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from aggregator.database import (
    HEAD,
    Server,
    engine_of,
    found,
    is_there,
    keep_private,
    kinds_at,
    name_of,
    require_known,
    revision,
    telling,
)
from aggregator.stores import Stores
from federation.engines import reading, writing


@dataclass(frozen=True, slots=True)
class Lies:
    """What lies at one place.

    revision: None where there is nothing, "" of the days before revisions were counted.
    """

    name: str
    revision: str | None

    @property
    def is_newest(self) -> bool:
        """Whether this version of the program works with it as it is."""
        return self.revision == HEAD


def shown(stores: Stores) -> tuple[Lies, ...]:
    """Return what lies at every place; nothing is made or changed.

    Raises:
        ForeignDatabaseError, SilentDatabaseError: see `database.Store.read`.
    """
    return tuple(Lies(_short(where), _revision(where)) for where in stores.all())


def upgraded(stores: Stores) -> tuple[Lies, ...]:
    """Carry over whatever is there and is not of the newest revision; return what was there before.

    Raises:
        ForeignDatabaseError: it is of a newer version, or another's; nothing was changed.
        SilentDatabaseError: it does not answer.
    """
    return tuple(Lies(_short(where), upgrade(where)) for where in stores.all())


def upgrade(where: Path | Server, to: str = HEAD) -> str | None:
    """Carry one place over to a revision; return the one that it was of. Errors: `upgraded`."""
    if not is_there(where):
        return None
    keep_private(where)
    with telling(where), writing(engine_of(where)) as connection:
        known = revision(connection, where, kinds_at(where))
        if known is None:
            found(connection, where, kinds_at(where))
        else:
            require_known(known, where)
            migrate(connection, where, to)
    return known


def migrate(connection: Connection, where: Path | Server, to: str) -> None:
    """Run what lies between a database's revision and `to`, within the transaction that is open."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    place = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", place.replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["tables"] = {t.name for kind in kinds_at(where) for t in kind.tables}
    command.upgrade(config, to)


def _revision(where: Path | Server) -> str | None:
    if not is_there(where):
        return None
    with telling(where), reading(engine_of(where)) as connection:
        return revision(connection, where, kinds_at(where))


def _short(where: Path | Server) -> str:
    return where.name if isinstance(where, Path) else name_of(where)
