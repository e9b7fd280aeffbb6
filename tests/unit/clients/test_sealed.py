"""The node's door: what is not sealed to it is not read, and what it answers leaves sealed."""

from pathlib import Path

import pytest

from aggregator.settings import load_aggregator
from clients.desk import Desk
from clients.inbox import Inbox
from clients.once import is_of_the_moment
from clients.sealed import SealedOnce
from clients.settings import load_settings
from experiments.borders import SEALED, crossings, read_captures
from experiments.canaries import search
from experiments.needles import Canary
from federation.control.captures import WIRE, Capture, captures, read_capture
from federation.covers import OVERHEAD, cover, is_cover, uncover
from federation.envelopes import Envelope, parse, seal
from federation.errors import MalformedMessageError, MisdirectedMessageError
from federation.messages import Kind
from tests.simulator import AGGREGATOR, CN, EU, Simulation

ROW = Canary(
    str(CN), "4711000012345678", "9", 123.4567, 1735689600123457, "2025-01-01 00:00:00.123457"
)


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(tmp_path / "home")


class Door:
    """The door of a node whose handler is told, and how often it was asked."""

    def __init__(self, simulation: Simulation, folder: Path, handler=None) -> None:
        self.simulation, self.asked = simulation, []
        self.settings = load_settings(simulation.folder(CN))
        self.signed, self.wire = captures(self.settings.folder, CN)
        self._handler = handler or (lambda letter: seal(self.reply(), simulation.key(CN)))
        self.once = SealedOnce(
            self._answer,
            Inbox(folder / "inbox.sqlite"),
            is_of_the_moment,
            self.settings,
            simulation.roster,
            self.signed,
        )

    def reply(self, **blobs: bytes) -> Envelope:
        return Envelope(Kind.TRAIN_UPDATE, CN, AGGREGATOR, "o", 1, {}, blobs)

    def _answer(self, letter: bytes) -> bytes:
        self.asked.append(letter)
        return self._handler(letter)

    def sealed(self, letter: bytes, to=CN, pin: str = "") -> bytes:
        recipient = self.simulation.roster.find(to)
        return cover(letter, recipient, pin or self.simulation.home.pin)

    def opened(self, wire: bytes) -> bytes:
        aggregator = load_aggregator(self.simulation.home.aggregator)
        return uncover(wire, [aggregator.opening], AGGREGATOR, aggregator.pin)


@pytest.fixture
def door(simulation: Simulation, tmp_path: Path) -> Door:
    return Door(simulation, tmp_path)


def test_a_letter_is_opened_answered_and_the_answer_sealed_to_the_aggregator(door: Door) -> None:
    reply = door.once(door.sealed(b"letter"))
    assert door.asked == [b"letter"] and is_cover(reply)
    assert parse(door.opened(reply)) == door.reply()


def test_a_letter_sealed_anew_is_the_same_letter(door: Door) -> None:
    first, second = door.sealed(b"letter"), door.sealed(b"letter")
    assert first != second and door.once.named(first) == door.once.named(second)
    one, two = door.once(first), door.once(second)
    assert door.asked == [b"letter"]
    assert one != two and door.opened(one) == door.opened(two)
    assert door.once.named(door.sealed(b"other")) != door.once.named(first)


def test_a_letter_sealed_anew_takes_no_second_worker(door: Door) -> None:
    class Nobody:
        def send(self, number: int, answer: bytes | None) -> None:
            got.append((number, answer))

    got: list[tuple[int, bytes | None]] = []
    desk, first = Desk(door.once.named), door.sealed(b"letter")
    desk.bring(first, Nobody(), 1)
    desk.bring(door.sealed(b"letter"), Nobody(), 2)
    desk.bring(b"no cover", Nobody(), 3)
    assert (desk.take(), desk.take()) == (first, b"no cover")
    desk.done(first, b"answer")
    assert got == [(1, b"answer"), (2, b"answer")]
    assert not desk._names.keys() - {b"no cover"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda door: b"letter", MalformedMessageError),
        (lambda door: seal(door.reply(), door.simulation.key(AGGREGATOR)), MalformedMessageError),
        (lambda door: door.sealed(b"letter", EU), MisdirectedMessageError),
        (lambda door: door.sealed(b"letter", pin="0" * 64), MalformedMessageError),
    ],
)
def test_bad_what_is_not_sealed_to_this_node_reaches_no_handler(door: Door, wrong, why) -> None:
    with pytest.raises(why):
        door.once(wrong(door))
    assert door.asked == []


def test_what_leaves_is_captured_as_signed_and_what_was_sent_beside_it(door: Door) -> None:
    door.wire.append(door.once(door.sealed(b"letter")))
    frames = read_captures(door.simulation.home.folder)
    assert [(f.kind, f.is_foreign) for f in frames] == [("train.update", False), (SEALED, False)]
    (crossing,) = crossings(frames, {})
    assert (crossing.messages, crossing.kind) == (1, "train.update")
    assert len(frames[1].wire) == len(frames[0].wire) + OVERHEAD


def test_a_planted_row_is_found_although_it_left_sealed(simulation: Simulation, tmp_path) -> None:
    row = f"{ROW.record} {ROW.amount} {ROW.time_text}".encode()
    leaks = lambda _: seal(Door.reply(None, update=row), simulation.key(CN))  # noqa: E731
    door = Door(simulation, tmp_path, leaks)
    sent = door.once(door.sealed(b"letter"))
    door.wire.append(sent)
    frames = read_captures(simulation.home.folder)
    assert row not in sent
    found = search(frames, [ROW])
    assert found.found == ((ROW.party, ROW.record),) and found.foreign == 0
    assert search([f for f in frames if f.is_sent], [ROW]).found == ()


def test_a_row_beside_its_cover_is_found_and_unsealed_bytes_on_the_wire_are_foreign(
    door: Door,
) -> None:
    """The wire's own capture is searched too: a node that sends a row in clear is seen there."""
    row = f"{ROW.record} {ROW.amount}".encode()
    door.wire.append(door.once(door.sealed(b"letter")))
    door.wire.append(seal(door.reply(update=row), door.simulation.key(CN)))
    found = search(read_captures(door.simulation.home.folder), [ROW])
    assert found.foreign == 1 and found.found == ((ROW.party, ROW.record),)
    assert found.frames == 2  # the message as it was signed, and the one that left unsealed


def test_the_two_captures_of_a_party_are_two_files(tmp_path: Path) -> None:
    for capture, content in zip(captures(tmp_path, "cn"), (b"signed", b"sealed"), strict=True):
        assert isinstance(capture, Capture)
        capture.append(content)
    assert list(read_capture(tmp_path / "captures" / "cn.cap")) == [b"signed"]
    assert list(read_capture(tmp_path / "captures" / f"cn{WIRE}")) == [b"sealed"]
