"""Where `aggregator.toml` says the aggregator's state lies: files of its folder, or one database.

    database = "postgresql://USER@HOST/DATABASE"

A password may stand in the URL, and makes the file a secret; libpq's ways (`~/.pgpass`, PGPASSFILE,
PGPASSWORD, a service) keep it out.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.database import Server
from aggregator.errors import AggregatorSettingsError
from aggregator.tables import JOBS, KEYS, KINDS, QUESTIONS, REGISTER, Kind
from federation.errors import ForeignLedgerError, MalformedNoteError
from federation.ledger.notes import origin_of
from federation.ledger.places import place_of


@dataclass(frozen=True, slots=True)
class Stores:
    """The places of one aggregator's state. server: None for files of the folder."""

    folder: Path
    server: Server | None = None

    @property
    def register(self) -> Path | Server:
        """Invitations, enrolments, signatures."""
        return self._of(REGISTER)

    @property
    def jobs(self) -> Path | Server:
        """The table of work."""
        return self._of(JOBS)

    @property
    def keys(self) -> Path | Server:
        """The keys that keyholders made ahead."""
        return self._of(KEYS)

    @property
    def steps(self) -> Path | Server:
        """How far the joint question is that goes on."""
        return self._of(QUESTIONS)

    def all(self) -> tuple[Path | Server, ...]:
        """Return every place there is, each once."""
        return (self.server,) if self.server else tuple(map(self._of, KINDS))

    def _of(self, kind: Kind) -> Path | Server:
        return self.server or self.folder / kind.file


def stores_of(folder: Path, value: Mapping[str, Any]) -> Stores:
    """Return what the settings `value` of the aggregator in `folder` say.

    Raises:
        AggregatorSettingsError: it is no URL of a PostgreSQL database, its driver is missing, or
            state lies in the folder too.
    """
    if "database" not in value:
        return Stores(folder)
    url = ""
    try:
        for kind in KINDS:
            url = str(place_of(value["database"], folder / kind.file))
        owner = origin_of(str(value["federation"]), str(value["party"]))
    except (ForeignLedgerError, MalformedNoteError) as why:
        raise AggregatorSettingsError(f"{folder / 'aggregator.toml'}: database: {why}") from why
    return Stores(folder, Server(url, owner))


def load_stores(folder: Path) -> Stores:
    """Read where the state of the aggregator in `folder` lies, founded or not.

    Raises:
        AggregatorSettingsError: `aggregator.toml` is malformed, or see `stores_of`.
    """
    path = folder / "aggregator.toml"
    try:
        return stores_of(folder, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Stores(folder)
    except KeyError as why:
        raise AggregatorSettingsError(f"{path} lacks {why}") from why
    except (ValueError, RecursionError) as why:
        raise AggregatorSettingsError(f"{path}: {why}") from why
