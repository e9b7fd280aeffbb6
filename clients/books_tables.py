"""The tables of the books, beside those of the log: rows are added, never changed.

    reservations ─ settlements ─ returns ─ closings   what an order may, did, took back, and its end
    lines ─ tallies                                   what an account held after each entry
    limits, windows, times                            what bounds it, in order of arrival

`number` is that of the log entry which says the same and was written with the row. A line is one
kind of event in one account; its tally under the greatest number is what holds now, so that an
account is read in the time its kinds take, however many releases it has paid for.
"""

from typing import Any, Final

import sqlalchemy as sa

from federation.ledger.store import tables

_OPTIONS: Final[dict[str, Any]] = {"sqlite_strict": True, "sqlite_with_rowid": False}


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=key, nullable=False)


def _whole(name: str, *, key: bool = False) -> sa.Column[int]:
    # STRICT tables of SQLite know INTEGER alone, which there holds 64 bits.
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, primary_key=key, nullable=False, autoincrement=False)


reservations: Final = sa.Table(
    "reservations",
    tables,
    _text("order_id", key=True),
    _text("account", key=True),
    _text("event"),
    _whole("releases"),
    _whole("spare"),
    _whole("line"),
    _whole("number"),
    _whole("at"),
    **_OPTIONS,
)
settlements: Final = sa.Table(
    "settlements",
    tables,
    _text("order_id", key=True),
    _text("release_key", key=True),
    _whole("number"),
    _whole("masked"),
    **_OPTIONS,
)
returns: Final = sa.Table(
    "returns",
    tables,
    _text("order_id", key=True),
    _text("release_key", key=True),
    _whole("number"),
    **_OPTIONS,
)
closings: Final = sa.Table(
    "closings", tables, _text("order_id", key=True), _whole("number"), **_OPTIONS
)
lines: Final = sa.Table(
    "lines",
    tables,
    _whole("line", key=True),
    _text("account"),
    _text("event"),
    sa.UniqueConstraint("account", "event"),
    **_OPTIONS,
)
tallies: Final = sa.Table(
    "tallies",
    tables,
    _whole("line", key=True),
    _whole("number", key=True),
    _whole("spent"),
    _whole("pending"),
    **_OPTIONS,
)
limits: Final = sa.Table(
    "limits",
    tables,
    _text("account", key=True),
    _text("dataset", key=True),
    _whole("number", key=True),
    _text("subjects"),
    _text("unit"),
    _text("time_window"),
    _text("epsilon"),
    _text("delta"),
    _text("failures"),
    **_OPTIONS,
)
windows: Final = sa.Table(
    "windows",
    tables,
    _text("subjects", key=True),
    _text("label", key=True),
    _whole("sequence"),
    _whole("number"),
    sa.UniqueConstraint("subjects", "sequence"),
    **_OPTIONS,
)
times: Final = sa.Table("times", tables, _whole("at", key=True), **_OPTIONS)

beside: Final = (
    reservations,
    settlements,
    returns,
    closings,
    lines,
    tallies,
    limits,
    windows,
    times,
)
"""All of them, as they stand beside the tables of the log."""
