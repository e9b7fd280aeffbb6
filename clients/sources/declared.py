"""What `node.toml` says of a table whose rows lie elsewhere: which rows, where, and no password.

    [sources."orders.parquet"]          # the table of a contract
    url = "postgresql://reader@db.example/shop?sslrootcert=/etc/ssl/db.pem"
    relation = "sales.orders"
    password = "env:SHOP_PASSWORD"      # or "file:keys/shop.password", mode 0600

    [sources."orders.parquet".rows]     # only these
    ship_country = ["DE", "FR"]
    ts = { from = "2025-01-01", before = "2026-01-01" }

    [sources."orders.parquet".columns]  # of other names, units, zones or codes: `sources.mapped`
    amount = { from = "Betrag", times = "0.01" }

A password is named and never written here; it is read when a connection is opened, and kept by
nobody. A name that an identifier of SQL could end in is refused, and all others are quoted. Nothing
here opens a connection or a file of rows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from clients.errors import NodeSettingsError
from clients.sources.mapped import Way, ways_of

Kind = Literal["postgresql", "mysql"]
LOCAL: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})
OPTIONS: Final[Mapping[Kind, frozenset[str]]] = {
    "postgresql": frozenset(
        {"host", "passfile", "connect_timeout", "channel_binding", "sslmode", "sslrootcert"}
        | {"sslcert", "sslkey", "sslcrl"}
    ),
    "mysql": frozenset(
        {"unix_socket", "connect_timeout", "ssl_ca", "ssl_cert", "ssl_key"}
        | {"ssl_verify_identity", "ssl_disabled"}
    ),
}
"""What may stand behind the ? of a URL: how to reach the server and how to believe it."""

PORTS: Final[Mapping[Kind, int]] = {"postgresql": 5432, "mysql": 3306}
SCHEMA: Final = "public"
"""Where a relation of PostgreSQL lies whose schema is not said."""

_SCHEMES: Final[Mapping[str, Kind]] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
_NAME: Final = re.compile(r"\w[\w $-]{0,62}")
_PLACE: Final = re.compile(r"(env|file):(.+)")
_TABLES: Final = frozenset({"rows", "columns"})
_FIELDS: Final = frozenset({"url", "file", "relation", "password", "delimiter", *_TABLES})
DELIMITERS: Final = (",", ";", "|", "\t")
_ADVICE: Final = "write postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE"


@dataclass(frozen=True, slots=True)
class Database:
    """One relation of one database on a server.

    host:     a name, an address, or for a local server the folder of its socket.
    port:     None for the usual one.
    relation: its name, or its schema's and its own.
    password: where it is found, `env:NAME` or `file:PATH`; None where none is needed.
    """

    kind: Kind
    user: str
    host: str
    port: int | None
    database: str
    relation: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    password: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, so that nobody else hears what is said."""
        has_socket = self.host.startswith(("/", "@")) or "unix_socket" in self.options
        return self.host.lower() in LOCAL or has_socket

    @property
    def is_asked_who_it_is(self) -> bool:
        """Whether its certificate and name are looked at, if the operator says no more."""
        return not self.is_local or any(name.startswith("ssl") for name in self.options)

    @property
    def spoken(self) -> str:
        """The relation as an operator names it."""
        return ".".join(self.relation)

    @property
    def names(self) -> tuple[str, ...]:
        """The relation as the database is asked for it, whatever a user's search path says."""
        is_bare = self.kind == "postgresql" and len(self.relation) == 1
        return (SCHEMA, *self.relation) if is_bare else self.relation

    @property
    def marks(self) -> tuple[str, ...]:
        """What identifies the relation, so that two tables of one relation are found."""
        host = self.host.lower().rstrip(".")
        where = "this machine" if self.is_local or _is_loopback(host) else host
        port, relation = self.port or PORTS[self.kind], ".".join(self.names)
        return (f"{self.kind}://{where}:{port}/{self.database}/{relation}",)


@dataclass(frozen=True, slots=True)
class File:
    """A CSV or Parquet file of the operator's. delimiter: between the values of a CSV file."""

    path: Path
    delimiter: str = ","

    @property
    def spoken(self) -> str:
        """The file as an operator names it."""
        return self.path.name

    @property
    def marks(self) -> tuple[str, ...]:
        """What identifies the file."""
        place = str(self.path.resolve())
        if not self.path.exists():
            return (place,)
        state = self.path.stat()
        return place, f"{state.st_dev}:{state.st_ino}"


@dataclass(frozen=True, slots=True)
class Span:
    """Values from `start` on and before `end`, as they are written; "" for no end."""

    start: str
    end: str


Filter = Mapping[str, tuple[str, ...] | Span]
"""Column → the values, or the span of values, of the rows that are taken."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows of `table` come from, which of them are taken, and how they are read.

    ways: how columns of the contract come from others; one that is not in it has the same name.
    """

    table: str
    place: Database | File
    rows: Filter = field(default_factory=dict)
    ways: Mapping[str, Way] = field(default_factory=dict)


def sources_of(raw: object, folder: Path) -> dict[str, Source]:
    """Return the sources that `[sources]` declares, by table.

    Raises:
        NodeSettingsError: one says too little, too much or something that cannot be; the sentence
            repeats no URL.
    """
    if not isinstance(raw, dict):
        raise NodeSettingsError('node.toml: write [sources."TABLE"], one for each table')
    return {str(table): _source(str(table), words, folder) for table, words in raw.items()}


def identifier(name: str, what: str) -> str:
    """Return `name`, which can be quoted in any database's SQL and then names one thing.

    Raises:
        NodeSettingsError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise NodeSettingsError(
            f"{what} {name!r} cannot be asked for in SQL: a name is up to 63 letters, digits, "
            f"blanks and any of _ $ -; name it so in a view of the database"
        )
    return name


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _source(table: str, raw: object, folder: Path) -> Source:
    where = f'node.toml: [sources."{table}"]'
    if not isinstance(raw, dict) or not raw.keys() <= _FIELDS:
        raise NodeSettingsError(f"{where} knows {', '.join(sorted(_FIELDS))}, and nothing else")
    if ("url" in raw) == ("file" in raw):
        raise NodeSettingsError(f"{where} names either a url or a file")
    if (folder / "data" / table).exists():
        raise NodeSettingsError(
            f"{where} says where the rows are, and data/{table} lies in the folder too; "
            f"take away whichever is not meant"
        )
    place = place_of({n: v for n, v in raw.items() if n not in _TABLES}, folder, where)
    ways = ways_of(raw.get("columns", {}), where)
    return Source(table, place, _rows(raw.get("rows", {}), where), ways)


def place_of(raw: Mapping[str, Any], folder: Path, where: str) -> Database | File:
    """Return where rows lie.

    Raises:
        NodeSettingsError: the words do not say it.
    """
    words = {name: _text(raw, name, where) for name in _FIELDS - _TABLES}
    return _file(words, folder, where) if words["file"] else _database(words, where)


def _text(raw: Mapping[str, Any], name: str, where: str) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str) or (name in raw and not value):
        raise NodeSettingsError(f"{where}: {name} is text in quotes")
    return value


def _file(words: Mapping[str, str], folder: Path, where: str) -> File:
    path, mark = folder / words["file"], words["delimiter"]
    if path.suffix not in {".csv", ".parquet"}:
        raise NodeSettingsError(f"{where}: a file ends in .csv or .parquet")
    if mark and (mark not in DELIMITERS or path.suffix != ".csv"):
        raise NodeSettingsError(
            f"{where}: delimiter stands between the values of a CSV file: a comma, a semicolon, a "
            "bar or a tab"
        )
    return File(path, mark or ",")


def _database(words: Mapping[str, str], where: str) -> Database:
    try:
        url = urlsplit(words["url"])
        kind, port = _SCHEMES[url.scheme], url.port
        options = dict(parse_qsl(url.query, strict_parsing=True)) if url.query else {}
    except (KeyError, ValueError):
        raise NodeSettingsError(f"{where}: url is no URL of a database; {_ADVICE}") from None
    if url.password is not None or {"password", "passwd"} & options.keys():
        raise NodeSettingsError(
            f"{where}: a password stands in the url; take it out and say where it is, with "
            f'password = "env:NAME" or "file:PATH"'
        )
    if not options.keys() <= OPTIONS[kind]:
        raise NodeSettingsError(
            f"{where}: behind the ? of the url may stand {', '.join(sorted(OPTIONS[kind]))}"
        )
    host = unquote(options.pop("host", "") or url.hostname or "")
    if "," in host:
        raise NodeSettingsError(f"{where}: url names more than one server; name one")
    if words["delimiter"]:
        raise NodeSettingsError(f"{where}: a delimiter is of a CSV file, not of a database")
    database, user = unquote(url.path.lstrip("/")), unquote(url.username or "")
    if not database or not user:
        raise NodeSettingsError(f"{where}: url lacks the user or the database; {_ADVICE}")
    if words["password"] and not _PLACE.fullmatch(words["password"]):
        raise NodeSettingsError(f'{where}: password is "env:NAME" or "file:PATH", never itself')
    relation = _relation(words["relation"], kind, where)
    return Database(kind, user, host, port, database, relation, options, words["password"] or None)


def _relation(text: str, kind: Kind, where: str) -> tuple[str, ...]:
    parts = tuple(text.split("."))
    if not text or len(parts) > (2 if kind == "postgresql" else 1):
        raise NodeSettingsError(
            f"{where}: relation is the name of a table or view"
            + (", or SCHEMA.NAME" if kind == "postgresql" else " of the database in the url")
        )
    return tuple(identifier(part, f"{where}: relation") for part in parts)


def _rows(raw: object, where: str) -> Filter:
    if not isinstance(raw, dict):
        raise NodeSettingsError(f"{where}: rows is a table of columns")
    return {str(column): _condition(value, str(column), where) for column, value in raw.items()}


def _condition(raw: object, column: str, where: str) -> tuple[str, ...] | Span:
    match raw:
        case [_, *_] if all(isinstance(value, str | int) for value in raw):
            return tuple(_spelt(value) for value in raw)
        case {"from": start, "before": end, **more} if not more:
            return Span(_spelt(start), _spelt(end))
        case {"from": start, **more} if not more:
            return Span(_spelt(start), "")
        case {"before": end, **more} if not more:
            return Span("", _spelt(end))
    raise NodeSettingsError(
        f"{where}: rows.{column} is a list of values, or {{ from = …, before = … }}"
    )


def _spelt(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
