"""Frames: whole messages arrive, in one spelling; everything else is refused and breaks nothing."""

import struct
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.control import frames
from federation.control.frames import LONGEST_FRAME, PIECE, Assembly, Kind, Message, cut
from federation.errors import MalformedFrameError

ALL = tuple(Kind)


@pytest.fixture(scope="module", autouse=True)
def _small_pieces() -> object:
    """Four bytes a frame, so that small examples have many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "PIECE", 4)
        yield


def messages(largest: int = 40) -> st.SearchStrategy[Message]:
    carrying = st.builds(
        Message,
        st.integers(1, 2**64 - 1),
        st.sampled_from([Kind.REQUEST, Kind.REPLY]),
        st.binary(max_size=largest),
    )
    failed = st.builds(Message, st.integers(1, 2**64 - 1), st.just(Kind.FAILED))
    return carrying | failed


def arrived(wire: Sequence[bytes], assembly: Assembly | None = None) -> list[Message]:
    assembly = assembly or Assembly(ALL)
    return [message for frame in wire if (message := assembly.add(frame)) is not None]


@given(st.lists(messages(), max_size=5))
def test_messages_arrive_whole_and_in_order(sent: list[Message]) -> None:
    assert arrived([frame for message in sent for frame in cut(message)]) == sent


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_no_frame_is_longer_than_the_longest(size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "PIECE", PIECE)
        wire = list(cut(Message(1, Kind.REPLY, bytes(size))))
        assert max(map(len, wire)) <= LONGEST_FRAME
        assert len(wire) == max(1, -(-size // PIECE))
        assert arrived(wire) == [Message(1, Kind.REPLY, bytes(size))]


def fields() -> st.SearchStrategy[bytes]:
    """Frames that are nearly right."""
    few = st.integers(0, 3)
    head = st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 2), few, few)
    return st.builds(
        lambda head, piece: struct.pack(">BBBQI", *head) + piece, head, st.binary(max_size=5)
    )


@settings(max_examples=400)
@given(st.lists(st.binary(max_size=40) | fields(), max_size=12))
def test_whatever_comes_is_a_message_in_its_one_spelling_or_refused(wire: list[bytes]) -> None:
    assembly, heard = Assembly(ALL, largest=12), []
    for frame in wire:
        heard.append(frame)
        try:
            message = assembly.add(frame)
        except MalformedFrameError:
            break
        if message is not None:
            assert list(cut(message)) == heard
            assert len(message.payload) <= 12
            heard = []


@given(messages(), st.data())
def test_one_bit_is_another_message_or_none(message: Message, data: st.DataObject) -> None:
    wire = list(cut(message))
    index = data.draw(st.integers(0, len(wire) - 1))
    bit = data.draw(st.integers(0, 8 * len(wire[index]) - 1))
    flipped = bytearray(wire[index])
    flipped[bit // 8] ^= 1 << bit % 8
    wire[index] = bytes(flipped)
    with suppress(MalformedFrameError):
        assert arrived(wire) != [message]


@given(messages(), messages(), st.data())
def test_messages_are_not_interleaved(one: Message, other: Message, data: st.DataObject) -> None:
    wire = list(cut(one))
    at = data.draw(st.integers(1, max(1, len(wire) - 1)))
    if at < len(wire):
        with pytest.raises(MalformedFrameError, match="continue"):
            arrived([*wire[:at], next(cut(other)), *wire[at:]])


def frame(
    version: int = 1, kind: int = 2, last: int = 1, number: int = 1, index: int = 0, size: int = 0
) -> bytes:
    return struct.pack(">BBBQI", version, kind, last, number, index) + bytes(size)


BAD = {
    "shorter than its header": [b"\1" * 14],
    "of version 0": [frame(version=0)],
    "of kind 9": [frame(kind=9)],
    "of kind 1, which is not sent": [frame(kind=1)],
    "header says": [frame(last=2)],
    "header says what": [frame(number=0)],
    "header says what none": [frame(size=5)],
    "other pieces": [frame(last=0, size=3)],
    "other pieces than": [frame(last=0, size=4), frame(index=1)],
    "in its middle": [frame(index=1, size=1)],
    "does not continue": [frame(last=0, size=4), frame(index=0, size=1)],
    "does not continue the": [frame(last=0, size=4), frame(number=2, index=1, size=1)],
    "does not continue the message": [frame(last=0, size=4), frame(kind=3, index=1, size=1)],
    "larger than 12": [frame(last=0, index=n, size=4) for n in range(4)],
    "larger than 12 bytes": [
        *(frame(last=0, index=n, size=4) for n in range(3)),
        frame(index=3, size=1),
    ],
    "says more": [frame(kind=3, size=1)],
    "of the id 66": [frame(number=66)],
}


@pytest.mark.parametrize(("why", "wire"), BAD.items(), ids=BAD)
def test_what_may_not_be_sent_is_refused_for_good(why: str, wire: list[bytes]) -> None:
    assembly = Assembly({Kind.REPLY, Kind.FAILED}, 12, lambda number: number != 66)
    with pytest.raises(MalformedFrameError, match=why):
        arrived(wire, assembly)
    with pytest.raises(MalformedFrameError, match="earlier"):
        assembly.add(frame())


def test_the_largest_message_arrives_and_the_next_one_too() -> None:
    message = Message(1, Kind.REPLY, bytes(12))
    assert arrived(2 * list(cut(message)), Assembly(ALL, 12)) == [message, message]


def test_what_a_message_says_is_not_printed() -> None:
    assert "4711" not in repr(Message(1, Kind.REPLY, b"4711"))
