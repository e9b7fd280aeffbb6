"""A log in a database: entries are appended in whole transactions, and nothing is ever changed.

    leaves         number, entry               the entries
    tiles          level, number, root, hashes 256 neighbouring hashes, once all are there
    heads          size, note                  the checkpoints this log has signed
    cosignatures   size, witness, line         what witnesses said of them
    witnessed      origin, size, note, at      the heads of other logs, as those signed them

Many entries in one transaction cost one wait for the disk. A tile is stored when it is complete, so
no stored hash ever changes; what is not complete is computed from the rows beneath it.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from federation.engines import reading, writing
from federation.errors import BadProofError, FederationError, ReadOnlyLogError
from federation.ledger import entries as written
from federation.ledger import merkle, notes, sightings, succession, witness
from federation.ledger.database import (
    cosignatures,
    existing_engine,
    heads,
    leaves,
    open_engine,
    tables,
    tiles,
    witnessed,
)
from federation.ledger.entries import Encoded, Entry
from federation.ledger.export import LogExport
from federation.ledger.notes import Checkpoint, NamedKey, SignedHead
from federation.ledger.succession import Succession
from federation.ledger.trust import Trust, booked
from federation.ledger.witness import WitnessRequest
from secure_compute.primitives.signature import SigningKey, VerifyKey

__all__ = [
    "Log",
    "existing_engine",
    "open_engine",
    "reading",
    "tables",
    "writing",
]

TILE: Final = 256
_HEIGHT: Final = 8  # 2^8 hashes fill a tile

_CHANGES: Final = tuple(f'"kind":"{kind.value}"'.encode() for kind in succession.KINDS)

_INSERT_LEAVES: Final = sa.insert(leaves)
_INSERT_TILES: Final = sa.insert(tiles)
_INSERT_HEAD: Final = sa.insert(heads)
_INSERT_COSIGNATURE: Final = sa.insert(cosignatures)
_INSERT_WITNESSED: Final = sa.insert(witnessed)
_LAST_LEAF: Final = sa.select(sa.func.max(leaves.c.number))
_NOTE: Final = sa.select(heads.c.note).where(heads.c.size == sa.bindparam("size"))
_LAST_SIZES: Final = (
    sa.select(heads.c.size)
    .order_by(heads.c.size.desc())
    .limit(sa.bindparam("newest", type_=sa.Integer))
)
_LAST_COSIGNED: Final = sa.select(sa.func.max(cosignatures.c.size)).group_by(cosignatures.c.witness)
_COSIGNED: Final = (
    sa.select(cosignatures.c.witness, cosignatures.c.line)
    .where(cosignatures.c.size == sa.bindparam("size"))
    .order_by(cosignatures.c.witness)
)
_LAST_SEEN: Final = (
    sa.select(witnessed.c.note)
    .where(witnessed.c.origin == sa.bindparam("origin"))
    .order_by(witnessed.c.size.desc())
    .limit(1)
)
_START, _END = sa.bindparam("start", type_=sa.Integer), sa.bindparam("end", type_=sa.Integer)
_LEAVES: Final = (
    sa.select(leaves.c.entry)
    .where(leaves.c.number >= _START, leaves.c.number < _END)
    .order_by(leaves.c.number)
)
_TILE: Final = sa.select(tiles.c.hashes).where(
    tiles.c.level == sa.bindparam("level"), tiles.c.number == sa.bindparam("number")
)
_ROOTS: Final = (
    sa.select(tiles.c.root)
    .where(
        tiles.c.level == sa.bindparam("level"),
        tiles.c.number >= _START,
        tiles.c.number < _END,
    )
    .order_by(tiles.c.number)
)


class Log:
    """One party's log, in the database of `engine`, under the name `origin`.

    Every method works inside the caller's transaction, so that entries and whatever else the
    caller writes are kept together or not at all.

    key: the party's; None for who only reads and signs nothing.
    """

    def __init__(self, engine: Engine, origin: str, key: SigningKey | None) -> None:
        self.engine = engine
        self.origin = origin
        self._key = key

    def append(self, connection: Connection, entries: Sequence[Entry | Encoded]) -> int:
        """Append `entries` in order and return the number of the first.

        They are durable when the transaction ends; needs a connection from `writing`.
        """
        first = self.size(connection)
        encoded = [e if isinstance(e, bytes) else written.encode(e) for e in entries]
        if encoded:
            rows = [{"number": n, "entry": entry} for n, entry in enumerate(encoded, first)]
            connection.execute(_INSERT_LEAVES, rows)
            _fill_tiles(connection, first, encoded)
        return first

    def size(self, connection: Connection) -> int:
        """Return the number of entries."""
        last = connection.execute(_LAST_LEAF).scalar()
        return 0 if last is None else int(last) + 1

    def entries(
        self, connection: Connection, start: int = 0, end: int | None = None
    ) -> list[Encoded]:
        """Return the entries numbered from `start` up to, not including, `end`."""
        wanted = sa.select(leaves.c.entry).where(leaves.c.number >= start)
        if end is not None:
            wanted = wanted.where(leaves.c.number < end)
        return [Encoded(e) for e in connection.scalars(wanted.order_by(leaves.c.number))]

    def root(self, connection: Connection, size: int | None = None) -> bytes:
        """Return the root over the first `size` entries, over all of them without `size`.

        Raises:
            BadProofError: there are fewer entries.
        """
        return merkle.root(self._upto(connection, size), _Tree(connection).subtree)

    def inclusion(
        self, connection: Connection, number: int, size: int | None = None
    ) -> tuple[bytes, ...]:
        """Return the proof that entry `number` stands among the first `size`.

        Raises:
            BadProofError: it does not, or there are fewer entries.
        """
        return merkle.inclusion(number, self._upto(connection, size), _Tree(connection).subtree)

    def consistency(
        self, connection: Connection, old: int, new: int | None = None
    ) -> tuple[bytes, ...]:
        """Return the proof that the first `old` entries are a beginning of the first `new`.

        Raises:
            BadProofError: there are fewer entries.
        """
        return merkle.consistency(old, self._upto(connection, new), _Tree(connection).subtree)

    def proofs(self, connection: Connection, sizes: Iterable[int]) -> dict[int, tuple[bytes, ...]]:
        """Return, for each of the earlier `sizes`, the proof that the log continues it.

        Much of it is the same for all of them, and read and hashed once.
        """
        size, tree = self.size(connection), _Tree(connection)
        earlier = [old for old in sizes if 0 < old < size]
        return {old: merkle.consistency(old, size, tree.subtree) for old in earlier}

    def checkpoint(self, connection: Connection) -> str:
        """Return the signed note of the log as it stands; it is kept, and never signed twice.

        Needs a connection from `writing`.

        Raises:
            ReadOnlyLogError: the log was opened to be read, without its party's key.
            GivenUpKeyError: the log does not go on under this key, see `succession`.
        """
        size = self.size(connection)
        known = self.note_at(connection, size)
        if known is not None:
            return known
        if self._key is None:
            raise ReadOnlyLogError(f"{self.origin} was opened to be read; sign it with its key")
        self._require_own(connection, self._key)
        note = notes.sign(Checkpoint(self.origin, size, self.root(connection, size)), self._key)
        connection.execute(_INSERT_HEAD, {"size": size, "note": note})
        return note

    def rotate(self, connection: Connection, new: VerifyKey, at: int) -> bool:
        """Let the log go on under `new`, by the word of the key it has; return whether that is new.

        Needs a connection from `writing`. From then on this log signs nothing with the old key.

        Raises:
            ReadOnlyLogError: the log was opened to be read, without its party's key.
            LedgerMismatchError: the log does not go on under the key it was opened with, or had
                the new one before.
        """
        if self._key is None:
            raise ReadOnlyLogError(f"{self.origin} was opened to be read; sign it with its key")
        keys = self.succession(connection)
        if keys.changes and keys.changes[-1].identity == new:
            return False
        number = self.size(connection)
        entry = succession.entry_of(self.origin, number, self._key, new, at)
        keys.after(number, entry)
        self.append(connection, [entry])
        return True

    def replace(self, connection: Connection, first: VerifyKey, at: int) -> bool:
        """Let the log go on under the key it was opened with, whose predecessor is lost.

        That other members gave this party the key is the caller's to know. Returns whether the log
        did not go on under it yet; needs a connection from `writing`.

        first: the key of the log, where it has changed none yet.

        Raises:
            ReadOnlyLogError: the log was opened to be read, without its party's key.
            LedgerMismatchError: the log had this key before, and gave it up.
        """
        if self._key is None:
            raise ReadOnlyLogError(f"{self.origin} was opened to be read; sign it with its key")
        keys, number = self.succession(connection), self.size(connection)
        previous = keys.changes[-1].identity if keys.changes else first
        if previous == self._key.verify_key:
            return False
        entry = succession.entry_of_lost(self.origin, number, previous, self._key, at)
        keys.after(number, entry)
        self.append(connection, [entry])
        return True

    def succession(self, connection: Connection) -> Succession:
        """Return the keys that this log has had, by its entries.

        Raises:
            LedgerMismatchError: one that it names was not signed for.
        """
        found = Succession(self.origin)
        for number, entry in self._rotations(connection, 0):
            found = found.after(number, entry)
        return found

    def _require_own(self, connection: Connection, key: SigningKey) -> None:
        last = self.last_note(connection)
        start = 0 if last is None else notes.read(last).checkpoint.size
        since = [entry for _, entry in self._rotations(connection, start)]
        succession.require_own(key.verify_key, last, since)

    def _rotations(self, connection: Connection, start: int) -> list[tuple[int, Entry]]:
        """Return the changes of key from entry `start` on; no other entry is read."""
        some = enumerate(self.entries(connection, start), start)
        changes = ((n, one) for n, one in some if any(one.find(kind) >= 0 for kind in _CHANGES))
        return [(n, written.decode(one)) for n, one in changes]

    def last_note(self, connection: Connection) -> str | None:
        """Return the latest checkpoint that was signed, if any was."""
        newest = sa.select(heads.c.note).order_by(heads.c.size.desc()).limit(1)
        note: str | None = connection.scalar(newest)
        return note

    def keep_cosignature(self, connection: Connection, size: int, witness: str, line: str) -> None:
        """`witness`'s cosignature of the head at `size` is kept; its first one counts.

        Nothing here is changed: where the first one is by a key that was given up, and this party
        did not know so yet, the witness's next cosignature is that of a later head.
        """
        if witness not in self.cosigned(connection, size):
            values = {"size": size, "witness": witness, "line": line}
            connection.execute(_INSERT_COSIGNATURE, values)

    def cosigned(self, connection: Connection, size: int) -> dict[str, str]:
        """Return the cosignature lines of the head at `size`, by the name of the witness."""
        return dict(map(tuple, connection.execute(_COSIGNED, {"size": size})))

    def shown(self, connection: Connection, newest: int = 4) -> tuple[int, ...]:
        """Return the sizes that a witness may have seen last, ascending.

        They are those of the `newest` heads, and the greatest that each witness has cosigned.
        """
        last = connection.scalars(_LAST_SIZES, {"newest": newest})
        sizes = {*last, *connection.scalars(_LAST_COSIGNED)}
        return tuple(sorted(sizes))

    def note_at(self, connection: Connection, size: int) -> str | None:
        """Return the checkpoint that was signed at `size` entries, if one was."""
        note: str | None = connection.scalar(_NOTE, {"size": size})
        return note

    def booked_note(self, connection: Connection, trust: Trust) -> str | None:
        """Return the greatest head that enough others cosigned, with their lines; None if none.

        Lines that are not genuine under the keys of `trust` count as none.
        """
        sizes = sa.select(cosignatures.c.size).distinct().order_by(cosignatures.c.size.desc())
        for size in connection.scalars(sizes).all():
            note = self.note_at(connection, size)
            lines = {} if note is None else self._genuine(connection, size, note, trust)
            if note is not None and booked(trust, self.origin, lines):
                return note + "".join(lines.values())
        return None

    def exported(self, connection: Connection, trust: Trust) -> LogExport | None:
        """Return the log up to the last head it signed, for a file; None if it signed none.

        With it goes the greatest head that enough others cosigned; where none is booked, the last
        one. Nothing is signed here: a copy that was put back must not continue what it once was.
        """
        head = self.last_note(connection)
        if head is None:
            return None
        size = notes.read(head).checkpoint.size
        witnessed_note = self.booked_note(connection, trust) or head
        return LogExport.of(self.origin, self.entries(connection, 0, size), head, witnessed_note)

    def last_seen(self, connection: Connection, origin: str) -> SignedHead | None:
        """Return the greatest head of the log `origin` that this party has seen, as it signed it.

        Its signature was verified before it was written down.
        """
        text = connection.scalar(_LAST_SEEN, {"origin": origin})
        if text is None:
            return None
        note = notes.read(text)
        head, (line,) = note.checkpoint, note.lines
        return SignedHead(head.origin, head.size, head.root, line)

    def vouch(
        self, connection: Connection, request: WitnessRequest, key: NamedKey, at: int
    ) -> SignedHead:
        """Return the head that another log shows; this log says that it has seen it.

        It is compared with the one seen last in the transaction that writes it down, so that two
        at once cannot both be continuations. A cosignature may leave once this is committed.

        Args:
            connection: one from `writing`.
            request: what the other log shows.
            key: the key that its party has on the roster.
            at: now, in seconds since 1970.

        Raises:
            MalformedNoteError, UntrustedNoteError: there is no note that this key signed.
            OlderHeadError: a longer one was seen; nothing is wrong if it was merely late.
            UnprovenHeadError: it shows no proof that it continues the one seen last.
            InconsistentLogError: it does not continue the one seen last.
        """
        (found,) = self.vouch_all(connection, [(request, key)], at)
        if isinstance(found, FederationError):
            raise found
        return found

    def vouch_all(
        self,
        connection: Connection,
        shown: Iterable[tuple[WitnessRequest, NamedKey]],
        at: int,
    ) -> list[SignedHead | FederationError]:
        """Return of the heads of different logs what `vouch` returns of each, or what it raises.

        One that cannot be cosigned makes the others none the worse.
        """
        found: list[SignedHead | FederationError] = []
        new: list[SignedHead] = []
        for request, key in shown:
            last = self.last_seen(connection, key.name)
            try:
                head = witness.examine(last, request, key)
            except FederationError as why:
                found.append(why)
                continue
            found.append(head)
            new += [head] if head != last else []
        self._remember(connection, new, at)
        return found

    def remember_seen(self, connection: Connection, seen: SignedHead, at: int) -> None:
        """This log says that it has seen the head `seen`, unless it said so before.

        Only for what `witness.examine` returned in this same transaction.
        """
        if seen != self.last_seen(connection, seen.origin):
            self._remember(connection, [seen], at)

    def _remember(self, connection: Connection, seen: Sequence[SignedHead], at: int) -> None:
        rows = [{"origin": s.origin, "size": s.size, "note": s.note, "at": at} for s in seen]
        if rows:
            connection.execute(_INSERT_WITNESSED, rows)
            self.append(connection, [sightings.entry_of(each, at) for each in seen])

    def _genuine(
        self, connection: Connection, size: int, note: str, trust: Trust
    ) -> dict[str, str]:
        """Return the genuine cosignature lines of the head `note`, by the name of the witness."""
        found = {}
        for name, line in self.cosigned(connection, size).items():
            with suppress(FederationError):
                if list(witness.cosigners(note, [line], trust)) == [name] != [self.origin]:
                    found[name] = line
        return found

    def _upto(self, connection: Connection, size: int | None) -> int:
        there = self.size(connection)
        if size is not None and not 0 <= size <= there:
            raise BadProofError(f"{self.origin} has {there} entries, not {size}")
        return there if size is None else size


class _Tree:
    """The hashes of the tree, read from tiles; the rows of one call are read once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._read: dict[tuple[int, int], bytes] = {}
        self._folded: dict[tuple[int, int], bytes] = {}

    def subtree(self, level: int, index: int) -> bytes:
        """Return the hash over the leaves [index << level, (index + 1) << level)."""
        if (level, index) not in self._folded:
            self._folded[level, index] = self._fold(level, index)
        return self._folded[level, index]

    def _fold(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, _HEIGHT)
        number, offset = divmod(index << height, TILE)
        row = self._hashes(tile_level, number)
        size = merkle.HASH_SIZE
        some = range(offset * size, (offset + (1 << height)) * size, size)
        return merkle.fold([row[k : k + size] for k in some])

    def _hashes(self, level: int, number: int) -> bytes:
        if (level, number) not in self._read:
            row = self._connection.scalar(_TILE, {"level": level, "number": number})
            self._read[level, number] = self._unfinished(level, number) if row is None else row
        return self._read[level, number]

    def _unfinished(self, level: int, number: int) -> bytes:
        return b"".join(_beneath(self._connection, level, number * TILE, (number + 1) * TILE))


def _beneath(connection: Connection, level: int, start: int, end: int) -> list[bytes]:
    """Return the hashes that a tile of `level` is made of, those there are in [start, end)."""
    within = {"start": start, "end": end}
    if level == 0:
        return [merkle.leaf_hash(entry) for entry in connection.scalars(_LEAVES, within)]
    return list(connection.scalars(_ROOTS, {"level": level - 1, **within}))


def _fill_tiles(connection: Connection, first: int, encoded: Sequence[bytes]) -> None:
    """Every tile that the leaves from `first` on have completed is stored."""
    end, level, width = first + len(encoded), 0, TILE
    while first // width != end // width:
        some = range(first // width, end // width)
        if level == 0:
            hashes = _beneath(connection, 0, some.start * TILE, first)
            hashes += map(merkle.leaf_hash, encoded[: some.stop * TILE - first])
        else:
            hashes = _beneath(connection, level, some.start * TILE, some.stop * TILE)
        parts = [hashes[k : k + TILE] for k in range(0, len(hashes), TILE)]
        rows = [
            {"level": level, "number": n, "root": merkle.fold(p), "hashes": b"".join(p)}
            for n, p in zip(some, parts, strict=True)
        ]
        connection.execute(_INSERT_TILES, rows)
        level, width = level + 1, width * TILE
