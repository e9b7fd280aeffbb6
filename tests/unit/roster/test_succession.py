"""A node that takes a newer roster up where it runs: when, what it keeps, and when it may not."""

import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from clients.errors import NoSuccessorError
from clients.inbox import Inbox
from clients.once import Once, is_of_the_moment
from clients.rotation import begin, begin_identity
from clients.settings import load_settings
from clients.slots import _RECEIVED
from clients.succession import Reign, Succession
from clients.worker import build
from experiments.founding import AGGREGATOR
from federation.errors import RolledBackError
from federation.messages import Kind
from federation.roster_chain import Remove, Restore
from secure_compute.primitives import hpke, signature
from tests.identity import offered, shown
from tests.simulator import CN, UK, sealed_letter

LONG = 60.0


class Running:
    """A node's process, without its connections."""

    def __init__(self, simulation, party):
        self._simulation, self._party = simulation, party
        self.built, self.stop = [], threading.Event()
        self._inbox = Inbox(simulation.folder(party) / "outbox.sqlite")
        self.succession = Succession(self._reign, self.stop)

    def _reign(self, halt):
        sim, settings = self._simulation, load_settings(self._simulation.folder(self._party))
        node = build(settings, sim.now, sim.monotonic, halt=halt)
        node.begin()
        self.built.append(node)
        sim._nodes[self._party] = SimpleNamespace(answer=self.succession_of, _witnessing=None)
        return Reign(node, Once(node.answer, self._inbox, is_of_the_moment))

    def succession_of(self, wire):
        return self.succession(wire)

    def shown(self):
        """The epoch that it says it works with when it is shown the aggregator's chain."""
        return self._simulation.show_roster(self._party).body["epoch"]


@pytest.fixture
def running(simulation):
    return Running(simulation, CN)


def test_the_next_node_works_with_the_newer_roster_and_the_process_goes_on(simulation, running):
    assert running.shown() == 1
    simulation.suspend(UK)
    assert [running.shown() for _ in range(3)] == [1, 2, 2]
    assert len(running.built) == 2
    assert not running.stop.is_set()


def test_what_was_answered_before_is_answered_alike(simulation, running):
    letter = simulation.letter(Kind.PING, CN, "")
    first = running.succession(letter)
    simulation.suspend(UK)
    running.shown()
    assert running.succession.inbox.answer(running.succession.named(letter)).payload == first
    assert running.succession(letter) == first


def test_the_files_of_the_node_before_are_closed(simulation, running):
    folder = str(simulation.folder(CN))

    def opened():
        running.built.clear()  # this test's own hold on it
        running.shown()
        return sorted(name for name in map(target, descriptors()) if name.startswith(folder))

    simulation.suspend(UK)
    before = opened()
    simulation.lengthen(Restore(UK), AGGREGATOR)
    assert opened() == before
    assert running.shown() == 3


def descriptors():
    return list(Path("/proc/self/fd").iterdir())


def target(descriptor):
    with suppress(FileNotFoundError):
        return str(descriptor.readlink())
    return ""


def test_a_node_that_has_left_is_followed_by_none(simulation, running):
    chain = simulation.lengthen(Remove(CN), CN)
    simulation.roster = load_settings(simulation.folder(CN)).roster()  # the last that names it
    running.succession(sealed_letter(simulation, CN, chain))
    assert running.stop.is_set()
    assert running.succession.ended is None  # the next process says why, and ends with 2
    with pytest.raises(NoSuccessorError):
        running.succession(simulation.letter(Kind.PING, CN, ""))


def test_another_identity_key_is_taken_up_where_the_node_runs(simulation, running):
    settings = load_settings(simulation.folder(CN))
    old = settings.identity.verify_key
    assert begin_identity(settings)
    offered(simulation)  # the node brings the epoch in which it has another key
    shown(simulation, CN)
    reply = running.succession(simulation.letter(Kind.PING, CN, ""))
    assert simulation.read(reply).kind is Kind.PONG  # signed with the key that the roster names now
    assert settings.identity.verify_key == simulation.roster.find(CN).identity != old
    assert not running.stop.is_set()


def test_keys_that_were_given_up_are_in_no_memory_of_the_process_that_goes_on(simulation, running):
    settings = load_settings(simulation.folder(CN))
    opening, identity = settings.opening, settings.identity
    assert begin(settings) and begin_identity(settings)
    sealed = opening.sealing_key.seal(b"to the old key", b"")
    offered(simulation)
    shown(simulation, CN)
    assert opening.open(sealed, b"") == b"to the old key" and identity.sign(b"") and running.built
    simulation.suspend(UK)
    running.succession(simulation.letter(Kind.PING, CN, ""))
    made = len(running.built)
    running.shown()
    assert len(running.built) == made + 1
    assert opening not in settings.openings and identity not in settings.identities
    for kept in (hpke._private, hpke._sealing, signature._private, signature._public):
        assert not is_kept(
            kept, opening.seed if kept.__module__ == hpke.__name__ else identity.seed
        )


def is_kept(kept, seed):
    hits = kept.cache_info().hits
    kept(seed)
    return kept.cache_info().hits > hits


# -- nodes that are none ---------------------------------------------------------------------------


class Made:
    """A node whose letters say what it does."""

    def __init__(self, number, halt):
        self.number, self.halt, self.ended, self.idle = number, halt, None, True
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.received = None

    def while_idle(self, act):
        if self.idle:
            act()

    def answer(self, wire):
        self.received = _RECEIVED.get()
        if wire.startswith(b"slow"):
            self.begun.set()
            assert self.go_on.wait(LONG)
        if wire.startswith(b"over"):
            self.halt()
        return b"%d" % self.number


@pytest.fixture
def made(tmp_path):
    inbox, nodes, stop = Inbox(tmp_path / "outbox.sqlite"), [], threading.Event()

    def reign(halt):
        nodes.append(Made(len(nodes), halt))
        return Reign(nodes[-1], Once(nodes[-1].answer, inbox, lambda _: True))

    return Succession(reign, stop), nodes, stop


def test_nobody_follows_a_node_that_still_answers(made):
    succession, nodes, _ = made
    slow = threading.Thread(target=succession, args=(b"slow",))
    slow.start()
    assert nodes[0].begun.wait(LONG)
    assert succession(b"over") == b"0"
    assert succession(b"a letter") == b"0"
    assert len(nodes) == 1
    nodes[0].go_on.set()
    slow.join(LONG)
    assert succession(b"a letter") == b"1"


def test_nobody_follows_where_an_order_came_in_between(made):
    succession, nodes, _ = made
    nodes[0].idle = False
    succession(b"over")
    assert succession(b"a letter") == b"0"
    nodes[0].idle = True
    assert succession(b"a letter") == b"0"  # not before it is said again
    succession(b"over 2")
    assert succession(b"a letter") == b"1"


def test_nobody_follows_a_node_that_cannot_be_trusted(made):
    succession, nodes, stop = made
    nodes[0].ended = RolledBackError("an older copy was put back")
    succession(b"over")
    assert stop.is_set()
    assert len(nodes) == 1
    assert succession.ended is nodes[0].ended


def test_nobody_follows_a_node_that_is_over_and_then_cannot_be_trusted(made):
    succession, nodes, stop = made
    slow = threading.Thread(target=succession, args=(b"slow",))
    slow.start()
    assert nodes[0].begun.wait(LONG)
    succession(b"over")
    nodes[0].ended = why = RolledBackError("an older copy was put back")
    nodes[0].halt()
    nodes[0].go_on.set()
    slow.join(LONG)
    assert stop.is_set()
    assert len(nodes) == 1
    assert succession.ended is why


def test_nobody_follows_in_a_process_that_is_to_end(made):
    succession, nodes, stop = made
    stop.set()
    succession(b"over")
    assert len(nodes) == 1


def test_a_request_came_before_it_waited_for_the_node_that_answers_it(made, monkeypatch):
    succession, nodes, _ = made
    clock = [5.0]

    class Building:
        def __enter__(self):
            clock[0] += 60.0

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("clients.succession.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(succession, "_guard", Building())
    succession(b"a letter")
    assert nodes[0].received == 5.0
