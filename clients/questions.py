"""The questions this node answered and whose sums they were, in `outbox.sqlite`.

Two answers to one question differ by what the cohorts differ by. So a question is kept, as digests
of what it sums, with the parties on the list of its answer, and one whose difference with earlier
ones leaves one or two organisations alone is refused: when it is offered, by its cohort, and when
its list is to be signed, by who is on the list. What was signed is kept for good. Which windows
were read makes no other question: sums of windows add up.

A node sees the questions that it was asked itself. Where no single node was asked all of them
(three here, three there, then all seven), nobody but whoever asked can tell.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from clients.errors import RefusedWorkError
from federation.durable import Kept
from federation.errors import OnePartyQueryError
from federation.membership import Member, Roster
from federation.orders import WorkOrder
from federation.queries.cohort import MINIMUM_ORGANISATIONS
from federation.queries.repeats import differs_by_party, questions
from federation.sqlite_files import connect
from federation.tasks import QueryTask
from policies.parties import PartyId
from secure_compute import canonical

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answered (
    question TEXT NOT NULL, order_id TEXT NOT NULL, cohort BLOB NOT NULL,
    PRIMARY KEY (question, order_id));
"""


_LISTS: Final = 256
"""How many lists of parties are held as they were read: mostly the same few are asked."""


class Questions:
    """The questions of one node; safe for several threads."""

    def __init__(self, path: Path, roster: Roster) -> None:
        self._kept = Kept(partial(connect, path, any_thread=True))
        self._roster = roster
        self._lock = threading.Lock()
        self._members = lru_cache(_LISTS)(self._read)
        with self._kept.connected() as db:
            db.executescript(_SCHEMA)

    def hold(self) -> None:
        """Keep the file open until `let_go`; see `durable.Kept`."""
        self._kept.hold()

    def let_go(self) -> None:
        """The file is held open no longer."""
        self._kept.let_go()

    def require_apart(self, order: WorkOrder, parties: Sequence[str] = ()) -> None:
        """Accept a question whose answer and earlier ones leave no organisation alone.

        parties: whose answers are summed; the order's cohort where that is not known yet.

        Raises:
            OnePartyQueryError: they do; it says after which order.
            UnknownPartyError: a party is not on the roster.
        """
        plan = QueryTask.from_json(order.parameters).plan
        cohort = [self._roster.find(PartyId(party)) for party in parties or order.cohort]
        past = self._past(order, questions(plan))
        pairs = [(question, members) for question, _, members in past]
        alone = differs_by_party(plan, cohort, pairs)
        if alone:
            others = [said for _, said, members in past if set(members) != set(cohort)]
            raise OnePartyQueryError(_sentence(len(alone), dict.fromkeys(others)))

    @contextmanager
    def signing(self, order: WorkOrder, parties: Sequence[str]) -> Iterator[None]:
        """Sign within the block that these parties' answers are summed; it is kept at its end.

        Raises:
            RefusedWorkError: it would leave organisations alone; see `require_apart`.
        """
        with self._lock:
            try:
                self.require_apart(order, parties)
            except OnePartyQueryError as why:
                raise RefusedWorkError(f"no list of these parties is signed: {why}") from why
            yield
            self._keep(order, parties)

    def _keep(self, order: WorkOrder, parties: Sequence[str]) -> None:
        plan = QueryTask.from_json(order.parameters).plan
        members = [self._roster.find(PartyId(party)).to_json() for party in sorted(parties)]
        cohort = canonical.encode(members)
        rows = [(question, order.id, cohort) for question in sorted(questions(plan))]
        with self._kept.writing() as db:
            db.executemany("INSERT OR IGNORE INTO answered VALUES (?, ?, ?)", rows)

    def _past(
        self, order: WorkOrder, asked: frozenset[str]
    ) -> list[tuple[str, str, tuple[Member, ...]]]:
        """Return the same questions of other orders: which, under what order, whose answers."""
        with self._kept.connected() as db:
            rows = [
                row
                for question in sorted(asked)
                for row in db.execute(
                    "SELECT question, order_id, cohort FROM answered "
                    "WHERE question = ? AND order_id <> ? ORDER BY rowid",
                    (question, order.id),
                )
            ]
        return [(str(row[0]), str(row[1]), self._members(bytes(row[2]))) for row in rows]

    def _read(self, wire: bytes) -> tuple[Member, ...]:
        """Return the parties of a list: as they are on the roster now, or as they were then."""
        now = {member.party: member for member in self._roster.members}
        value = canonical.decode(wire)
        then = value if isinstance(value, list) else []
        read = (Member.from_json(item) for item in then if isinstance(item, dict))
        return tuple(now.get(member.party, member) for member in read)


def _sentence(count: int, past: Iterable[str]) -> str:
    named = ", ".join(order[:12] for order in past)
    who = "one organisation" if count == 1 else f"{count} organisations"
    return (
        f"the same question was answered for another cohort (order {named}), and the difference "
        f"of the answers would leave {who} alone, where a cell needs {MINIMUM_ORGANISATIONS}: ask "
        "those that answered it, named by cohort.parties, and nobody else"
    )
