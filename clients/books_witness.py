"""What witnesses are shown of the log under the books, and what they said.

Every function works within the transaction of its caller. Signatures are not checked here: only
lines that were opened under their witness's key are given to these books.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from federation.errors import InconsistentLogError
from federation.ledger import notes
from federation.ledger.database import cosignatures, heads
from federation.ledger.store import Log
from federation.ledger.witness import MAX_PROOFS, WitnessRequest

SHOWN: Final = 4
"""How many of its earlier heads a log proves its newest to continue."""

_SINCE: Final = (
    sa.select(cosignatures.c.witness).distinct().where(cosignatures.c.size > sa.bindparam("number"))
)
_HEAD: Final = sa.select(heads.c.note).where(heads.c.size == sa.bindparam("size"))


def request(connection: Connection, log: Log, also: Iterable[int] = ()) -> WitnessRequest:
    """Return the signed head, with proofs that it continues what witnesses may have seen last.

    That is each of the last heads, for every witness the head that it cosigned last, and sizes that
    a witness has asked about.
    """
    note = log.checkpoint(connection)
    sizes = {*log.shown(connection, SHOWN + 1), *also}
    return WitnessRequest(note, log.proofs(connection, sorted(sizes)[-MAX_PROOFS:]))


def keep(connection: Connection, log: Log, note: str, lines: Mapping[str, str]) -> None:
    """Keep, by the name of the witness, cosignatures of one of this log's own heads.

    Raises:
        InconsistentLogError: this log never signed that head.
    """
    checkpoint = notes.read(note).checkpoint
    own: str | None = connection.execute(_HEAD, {"size": checkpoint.size}).scalar()
    if own is None or notes.read(own).checkpoint != checkpoint:
        raise InconsistentLogError(
            f"a cosignature is about a head of {checkpoint.origin} that this log never signed"
        )
    for witness, line in sorted(lines.items()):
        log.keep_cosignature(connection, checkpoint.size, witness, line)


def witnesses_since(connection: Connection, number: int) -> frozenset[str]:
    """Return the names of the witnesses that cosigned a head which covers entry `number`."""
    return frozenset(connection.scalars(_SINCE, {"number": number}))


def organisations(names: Iterable[str], of: Mapping[str, str], own: str) -> frozenset[str]:
    """Return the organisations behind `names`, without the one behind `own`."""
    return frozenset(of.get(name, name) for name in names) - {of.get(own, own)}
