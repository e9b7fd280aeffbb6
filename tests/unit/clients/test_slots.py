"""Two neighbouring folders, one order: from outside nobody tells whose rows made trouble, or which.

Both nodes are of the same party, with the same keys and books, and handle the letters of the same
question; their tables differ in one row. The time of slots stands still while a node works, so that
what it says of a reply is when it left.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import clients.node
from clients.desk import Desk
from clients.errors import ComputeError
from clients.queries.quality import found, quality_statement
from clients.queries.relations import Table
from clients.slots import Slots, received
from clients.stream import _Node
from experiments.ordering import published_contracts
from federation.joint_keys import pack
from federation.ledger.witness import WitnessRequest
from federation.messages import Kind
from federation.slots import slot_seconds
from federation.tasks import QueryTask
from tests.asked import FOUR, Joint, Pool, federation, question
from tests.simulator import CN, EU, Pace, Simulation, orders_table

TABLE = Path("data") / "orders.parquet"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys for one question each; every federation of these seats has the same keyholders."""
    serials = tuple(range(40))
    pool = Pool(federation(tmp_path_factory.mktemp("keys") / "federation"), serials=serials).made()
    return (pool.package(serial).to_bytes() for serial in serials)


class Twins:
    """Two federations that are one and the same, but for the rows of one node."""

    def __init__(self, folder: Path, package: bytes) -> None:
        self.package = package
        self.one, self.other = (federation(folder / name) for name in ("one", "other"))

    def hold(self, one: pd.DataFrame, other: pd.DataFrame) -> None:
        for simulation, rows in ((self.one, one), (self.other, other)):
            rows.to_parquet(simulation.folder(CN) / TABLE)

    def asked(self, **terms) -> tuple[Joint, Joint]:
        order = question(self.one, FOUR, **{"epsilon": "0.05", **terms})
        both = Joint(self.one, order, self.package), Joint(self.other, order, self.package)
        for asked in both:
            reply = asked.offer(CN)
            assert reply.kind is Kind.ACCEPTED, reply.body
        return both


@pytest.fixture
def twins(tmp_path, keys):
    return Twins(tmp_path, next(keys))


@dataclass(frozen=True)
class Seen:
    """What the outside sees of one reply: its status, its bytes, when it left, what it cost."""

    kind: Kind
    body: dict
    parts: dict[str, int]
    size: int
    slot: float
    head: int
    entries: list[str]
    spent: tuple


def commit(asked: Joint) -> bytes:
    letter = asked.simulation.letter(Kind.QUERY_COMMIT, CN, asked.order.id, key=asked.package)
    return asked.simulation.node(CN).answer(letter)


def seen(asked: Joint) -> Seen:
    simulation = asked.simulation
    simulation.node(CN)
    simulation.pace.at = 0.0
    wire = commit(asked)
    reply, account = simulation.read(wire), simulation.account(CN, "orders")
    return Seen(
        reply.kind,
        dict(reply.body),
        {name: len(blob) for name, blob in reply.blobs.items()},
        len(wire),
        simulation.pace.at,
        int(WitnessRequest.from_bytes(reply.blobs["head"]).note.splitlines()[1]),
        [entry.kind.value for entry in simulation.books(CN).entries()],
        (account.releases, account.epsilon_spent, account.epsilon_pending),
    )


def said(asked: Joint) -> bytes:
    """The commitment of a reply, or what stands in its place."""
    return asked.simulation.read(commit(asked)).blobs["commitment"]


def slot(asked: Joint) -> float:
    return slot_seconds(QueryTask.from_json(asked.order.parameters))


# -- one row more, or another one ------------------------------------------------------------------


def rows() -> pd.DataFrame:
    return orders_table(1).assign(first_order=1)


def texts() -> pd.DataFrame:
    """Categories that the question takes for numbers."""
    return rows().assign(category="12")


def with_one(frame: pd.DataFrame, **values) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[7]].assign(order_id=10**16 + 1, **values)])


CAST = "SELECT SUM(LEAST(GREATEST(CAST(category AS INTEGER), 0), 100)) AS s FROM orders"
SHARE = "SELECT SUM(LEAST(amount / first_order, 100)) AS s FROM orders"
PAIRS = (
    "SELECT a.category, SUM(LEAST(a.amount, 100)) AS s FROM orders a JOIN orders b "
    "USING (customer_id) GROUP BY a.category"
)
GROUPS = "SELECT category, SUM(LEAST(amount, 100)) AS s FROM orders GROUP BY category"
BROKEN = {"amount": 1e300, "category": "contraband", "first_order": -7}

NEIGHBOURS = {
    "breaks a cast": (CAST, texts(), with_one(texts(), category="a dozen")),
    "divides by zero": (SHARE, rows(), with_one(rows(), first_order=0)),
    "multiplies a join": (
        PAIRS,
        rows().assign(customer_id=range(160)),
        pd.concat([rows().assign(customer_id=range(160)), *[with_one(rows()[:9])[-1:]] * 900]),
    ),
    "fails quality": (GROUPS, rows(), with_one(rows(), **BROKEN)),
}


@pytest.mark.parametrize("case", NEIGHBOURS)
def test_status_bytes_and_send_slot_are_equal(twins, case):
    sql, one, other = NEIGHBOURS[case]
    twins.hold(one, other)
    mine, theirs = twins.asked(sql=sql)
    first = seen(mine)
    assert first == seen(theirs)
    assert (first.kind, first.slot) == (Kind.QUERY_COMMITTED, slot(mine))
    for asked in (mine, theirs):  # and both did answer: no row can make a plan fail
        assert any(said(asked))
        assert asked.order.id in known(asked)


def known(asked: Joint) -> list[str]:
    answering = asked.simulation.node(CN)._answers._answering
    return [answer.query for answer in answering._store.party().answers]


def test_the_row_that_fails_quality_does():
    contract, (_, one, other) = published_contracts()["orders"], NEIGHBOURS["fails quality"]
    statement = quality_statement(contract, Table(frozenset(one.columns), "given", "rowid"))
    broken = []
    for frame in (one, other):
        with duckdb.connect(":memory:") as db:
            db.register("held", frame)
            db.execute("CREATE TABLE given AS SELECT * FROM held")
            (row,) = db.execute(statement.text, statement.parameters).fetchall()
        broken.append(sum(check.broken for check in found(contract, row)))
    assert broken == [0, 3]


def test_rows_that_came_in_since_the_start_ride_along_in_no_reply(twins):
    twins.hold(rows(), rows())
    mine, theirs = twins.asked()
    with_one(rows()).to_parquet(twins.other.folder(CN) / TABLE)
    first, second = seen(mine), seen(theirs)
    assert len(second.entries) == len(first.entries) + 1  # its log has them all the same
    assert replace(second, entries=first.entries) == first


# -- what goes wrong once rows are read ------------------------------------------------------------


def raising(why: BaseException) -> Callable[..., tuple[int, ...]]:
    def cells(*_):
        raise why

    return cells


SECRET = "customer 4711 has 3 orders"
WRONG = {
    "a cast": ComputeError(SECRET),
    "memory": MemoryError(SECRET),
    "DuckDB": duckdb.OutOfMemoryException(SECRET),
    "a disk": OSError(5, SECRET),
    "a number": OverflowError(SECRET),
    "a bug": AssertionError(SECRET),
    "a stack": RecursionError(SECRET),
    "a library that panics": BaseException(SECRET),
}


@contextmanager
def in_threads(simulation: Simulation):
    """Let work be done in a thread of its own, as in production; who sleeps lets it end first."""
    begun = []

    def begin(work):
        begun.append(threading.Thread(target=work))
        begun[-1].start()

    def sleep(seconds):
        for thread in begun:
            thread.join()
        simulation.pace.sleep(seconds)

    node = simulation.node(CN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node._answers, "_slots", Slots(lambda: simulation.pace.at, sleep, begin))
        yield


def late_as(good: Seen) -> Seen:
    """What is seen of a late answer: it is charged at once, and differs in nothing else."""
    *before, sent = good.entries
    _, spent, pending = good.spent
    return replace(good, entries=[*before, "settled", sent], spent=(1, pending, spent))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("what", WRONG)
def test_whatever_fails_is_late_and_no_more(twins, monkeypatch, caplog, what):
    mine, theirs = twins.asked()
    good = seen(mine)
    monkeypatch.setattr(clients.node, "noised_cells", raising(WRONG[what]))
    with in_threads(twins.other), caplog.at_level(logging.WARNING):
        assert seen(theirs) == late_as(good)
    wire = commit(theirs)
    assert not any(twins.other.read(wire).blobs["commitment"])
    assert SECRET.encode() not in wire and type(WRONG[what]).__name__.encode() not in wire
    assert "was not there when its slot of" in caplog.text
    if isinstance(WRONG[what], Exception):
        assert SECRET in caplog.text  # the operator's log tells the truth


def lost(path: Path) -> None:
    path.unlink()


def damaged(path: Path) -> None:
    path.write_bytes(b"PAR1 and nothing else")


def cut_short(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))


@pytest.mark.parametrize("spoil", [lost, damaged, cut_short])
def test_a_table_that_is_not_there_any_more_is_late(twins, spoil):
    mine, theirs = twins.asked()
    spoil(twins.other.folder(CN) / TABLE)
    assert late_as(seen(mine)) == seen(theirs)
    assert any(said(mine)) and not any(said(theirs))


def test_a_table_that_changes_while_it_is_read_is_late(twins, monkeypatch):
    from clients.queries import partial

    mine, theirs = twins.asked()
    good, real = seen(mine), partial.evaluate_joined

    def while_it_is_exported(plan, sources, *others, **named):
        made = real(plan, sources, *others, **named)
        with_one(rows()).to_parquet(sources[0].data)
        return made

    monkeypatch.setattr(partial, "evaluate_joined", while_it_is_exported)
    assert seen(theirs) == late_as(good)
    assert not any(said(theirs))


def held_back(simulation: Simulation, monkeypatch) -> list[Callable[[], None]]:
    """Let a node's work wait until it is called: it takes longer than any slot."""
    waiting: list[Callable[[], None]] = []
    pace, node = simulation.pace, simulation.node(CN)
    late = Slots(lambda: pace.at, pace.sleep, waiting.append)
    monkeypatch.setattr(node._answers, "_slots", late)
    return waiting


def test_a_table_that_takes_too_long_is_late_at_the_same_moment(twins, monkeypatch):
    mine, theirs = twins.asked()
    good = seen(mine)
    waiting = held_back(twins.other, monkeypatch)
    assert seen(theirs) == late_as(good)
    before = said(theirs)
    assert not any(before)
    for work in waiting:  # it ends after all: nobody outside ever knows
        work()
    assert said(theirs) == before
    assert twins.other.pace.at == slot(theirs)  # and what was said is said again at once


def test_what_became_ready_too_late_is_never_summed(twins, monkeypatch):
    _, asked = twins.asked()
    simulation = twins.other
    for party in FOUR[1:]:
        asked.offer(party)
        assert asked.commit(party).kind is Kind.QUERY_COMMITTED
    waiting = held_back(simulation, monkeypatch)
    assert not any(said(asked))
    for work in waiting:
        work()
    assert asked.order.id not in known(asked)
    assert asked.endorse(CN).kind is Kind.FAILED
    for party in FOUR[1:]:
        assert asked.endorse(party).kind is Kind.QUERY_ENDORSED
    assert asked.reveal(CN).kind is Kind.FAILED
    for party in FOUR[1:]:
        assert asked.reveal(party).kind is Kind.QUERY_REVEALED
    # Nor would a list do on which its zeros stand.
    zeros = pack([*asked.commitments.values(), bytes(len(asked.commitments[EU]))])
    assert asked.ask(Kind.QUERY_ENDORSE, CN, commitments=zeros).kind is Kind.FAILED


def test_a_late_answer_asks_for_no_second_price_and_gets_no_second_try(twins, monkeypatch, keys):
    _, asked = twins.asked()
    with monkeypatch.context() as patch:
        patch.setattr(clients.node, "noised_cells", raising(ComputeError("once")))
        late = seen(asked)
    assert not any(said(asked)) and late.spent[0] == 1
    other = asked.simulation.letter(Kind.QUERY_COMMIT, CN, asked.order.id, key=next(keys))
    again = asked.simulation.read(asked.simulation.node(CN).answer(other))
    assert again.kind is Kind.FAILED
    asked.simulation.restart(CN)
    assert not any(said(asked))
    assert asked.simulation.account(CN, "orders").releases == 1


def test_a_second_letter_gets_nothing_of_a_late_answer(twins, monkeypatch, keys):
    """Neither under another number nor under another key, nor once the rows are read after all."""
    _, asked = twins.asked()
    simulation = twins.other
    waiting = held_back(simulation, monkeypatch)
    # Whatever the order lets go to waste, and it says itself how much that is.
    monkeypatch.setattr(simulation.node(CN)._releasing._outbox, "abandoned", lambda *_: 0)
    assert not any(said(asked))
    simulation.pace.at = 0.0
    others = [
        simulation.letter(Kind.QUERY_COMMIT, CN, asked.order.id, 1, key=asked.package),
        simulation.letter(Kind.QUERY_COMMIT, CN, asked.order.id, key=next(keys)),
    ]
    for _ in range(2):
        for letter in others:
            assert simulation.read(simulation.node(CN).answer(letter)).kind is Kind.FAILED
        assert simulation.pace.at == 0.0  # at once: no row had a say
        while waiting:
            waiting.pop()()
    assert simulation.account(CN, "orders").releases == 1


def test_a_close_waits_for_the_slot_and_whoever_is_late_is_charged(twins, monkeypatch):
    _, asked = twins.asked()
    simulation, closing = twins.other, []
    node, pace = simulation.node(CN), simulation.pace

    def sleep(seconds):
        if not closing:
            letter = simulation.letter(Kind.CLOSE, CN, asked.order.id)
            closing.append(threading.Thread(target=node.answer, args=(letter,)))
            closing[0].start()
            closing[0].join(0.2)
            assert closing[0].is_alive()
            node._endings._now = lambda: asked.order.expires + 1
            node._endings.close_expired()
            assert asked.order.id in simulation.books(CN).open_orders()
        pace.sleep(seconds)

    patched = Slots(lambda: pace.at, sleep, lambda work: None)
    monkeypatch.setattr(node._answers, "_slots", patched)
    assert not any(said(asked))
    closing[0].join()
    account = simulation.account(CN, "orders")
    assert (account.releases, account.epsilon_pending) == (1, 0.0)
    assert patched.busy  # and no snapshot takes the place of another while it reads


# -- what depends on no row ------------------------------------------------------------------------


def test_what_the_order_decides_is_answered_at_once(twins, keys):
    twins.hold(rows(), rows())
    mine, _ = twins.asked()
    simulation = twins.one
    commit(mine)
    simulation.pace.at = 0.0
    again, _ = twins.asked()  # under the same key: a key is used once
    reply = again.commit(CN)
    assert (reply.kind, simulation.pace.at) == (Kind.FAILED, 0.0)
    assert reply.body == {"reason": clients.node.SCRUBBED}
    assert again.order.id in simulation.books(CN).open_orders()  # it can be asked under another
    assert again.commit(CN, next(keys)).kind is Kind.QUERY_COMMITTED
    assert simulation.pace.at == slot(again)


def test_the_law_is_asked_before_the_slot_and_refuses_at_once(twins, monkeypatch):
    from clients.errors import RefusedWorkError
    from clients.judgement import Judge

    mine, _ = twins.asked()
    simulation = twins.one

    def refusing(*_):
        raise RefusedWorkError("no longer permitted: LAW-001")

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "again", refusing)
        reply = mine.commit(CN)
    assert (reply.kind, simulation.pace.at) == (Kind.FAILED, 0.0)
    assert simulation.account(CN, "orders").releases == 0


def test_an_order_may_give_more_time_and_every_node_takes_it(twins):
    mine, theirs = twins.asked(deadline=2_500)
    first, second = seen(mine), seen(theirs)
    assert first == second and first.slot == 2.5


# -- when a slot begins and ends -------------------------------------------------------------------


def test_a_slot_begins_when_the_request_was_received():
    pace = Pace()
    pace.at = 10.0
    with received(9.6), received(pace.at):  # who knows first when it came is right
        assert pace.slots.fill("it", 1.0, lambda: "made") == "made"
    assert pace.at == pytest.approx(10.6)
    with received(0.0):
        pace.at = 2.0
        assert pace.slots.fill("it", 1.0, lambda: "made") is None
    assert pace.at == 2.0


def test_what_waits_in_the_queue_of_a_stream_is_received_when_it_came(monkeypatch):
    node = object.__new__(_Node)
    node._desk, node._capture = Desk(), None
    node._settings = type("Settings", (), {"largest": 10})
    told: list[float] = []
    moments = iter((5.0, 6.0, 7.0))
    monkeypatch.setattr("clients.desk.time.monotonic", lambda: next(moments))
    node._desk.bring(b"request", None, 1)
    node._desk.bring(b"request", None, 2)
    request = node._desk.take()
    slots = Slots(lambda: 5.5, told.append, lambda work: work())

    def answer(_):
        slots.now = iter((5.5, 5.5, 5.5, 9.0)).__next__
        slots.fill("it", 1.0, lambda: None)
        return b"said"

    node._answer = answer
    assert node._answered(request) == b"said"
    assert told == [0.5]  # not 1.0: it came at 5.0, and once


def test_a_sleep_that_is_too_short_is_taken_up():
    pace, slept = Pace(), []

    def short(seconds):
        slept.append(seconds)
        pace.sleep(seconds / 2 if seconds > 0.1 else seconds)

    slots = Slots(lambda: pace.at, short, lambda work: work())
    assert slots.fill("it", 1.0, lambda: 1) == 1
    assert pace.at == 1.0 and len(slept) > 3


def test_work_is_done_beside_whoever_waits():
    pace, ready = Pace(), threading.Event()

    def sleep(seconds):
        ready.set()
        for thread in threading.enumerate():
            if thread.name == "slot":
                thread.join()
        pace.sleep(seconds)

    slots = Slots(lambda: pace.at, sleep)
    assert slots.fill("it", 1.0, lambda: ready.wait() and threading.current_thread().name) == "slot"


def test_what_ends_after_its_slot_was_not_made(caplog):
    pace, late = Pace(), []
    slots = Slots(lambda: pace.at, pace.sleep, late.append)
    assert slots.fill("the answer", 1.0, lambda: "made") is None
    pace.at = 3.25
    with caplog.at_level(logging.INFO):
        late[0]()
    assert "the answer took 3.250 s, by -2.250 s" in caplog.text
