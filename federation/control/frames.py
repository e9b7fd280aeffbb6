"""How a message of any size travels over a stream, in bounded frames.

    for frame in cut(Message(7, Kind.REQUEST, envelope)):
        …                                        # one sender's frames follow one another
    assembly = Assembly({Kind.REQUEST})
    message = assembly.add(frame)                # None until the last frame of a message

A frame is a header of 15 bytes, big endian, and a piece of the message:

    version 1 byte   kind 1 byte   last 1 byte   id 8 bytes   index 4 bytes   piece

Every frame but a message's last carries exactly `PIECE` bytes, the last one as many as are left,
and none only if the message is empty: a message has one spelling. The frames of one message follow
one another, so a receiver holds one unfinished message, of at most `largest` bytes. What a sender
may not send ends the stream: after it, nothing on the stream means anything.

This module knows neither sockets nor gRPC. What a message says is its sender's affair: envelopes
are signed and sealed, and this form neither reads nor guards them.
"""

import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from federation.errors import MalformedFrameError

PIECE: Final = 2**20
"""Bytes of a message in one frame."""

LARGEST: Final = 2**26
"""Bytes of one message at most, unless both sides agree on less."""

_VERSION: Final = 1
_HEADER: Final = struct.Struct(">BBBQI")
LONGEST_FRAME: Final = _HEADER.size + PIECE


class Kind(IntEnum):
    """What a message is; a number that is not here does not cross."""

    REQUEST = 1
    """From the aggregator: an envelope that wants an answer."""
    REPLY = 2
    """From the node: the envelope that answers the request of the same id."""
    FAILED = 3
    """From the node: it could not answer; it says nothing else, for an error's text holds data."""


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message; `id` is the request's, counted by the aggregator from 1 on."""

    id: int
    kind: Kind
    payload: bytes = field(default=b"", repr=False)


def cut(message: Message) -> Iterator[bytes]:
    """Yield the frames of a message, in order."""
    whole = memoryview(message.payload)
    count = max(1, -(-len(whole) // PIECE))
    for index in range(count):
        head = _HEADER.pack(_VERSION, message.kind, index == count - 1, message.id, index)
        yield head + whole[index * PIECE : (index + 1) * PIECE]


class Assembly:
    """Puts the frames of one stream together; one object a stream and direction.

    Args:
        kinds: what the other side may send.
        largest: bytes of one message at most.
        awaited: whether a message of this id may come now; asked before any of it is kept.
    """

    def __init__(
        self,
        kinds: Collection[Kind],
        largest: int = LARGEST,
        awaited: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._kinds = frozenset(kinds)
        self._awaited = awaited
        self._largest = largest
        self._head: tuple[int, int] | None = None
        self._pieces: list[memoryview] = []
        self._size = 0
        self._broken = False

    def add(self, frame: bytes) -> Message | None:
        """Return the message that this frame completes, if it does.

        Raises:
            MalformedFrameError: the other side may not send this frame, or sent such a one before.
        """
        if self._broken:
            raise MalformedFrameError("the stream was broken by an earlier frame")
        try:
            return self._add(frame)
        except MalformedFrameError:
            self._broken = True
            self._pieces.clear()
            raise

    def _add(self, frame: bytes) -> Message | None:
        kind, last, number, index = self._read(frame)
        if self._head is None and index != 0:
            raise MalformedFrameError("a message begins in its middle")
        if self._head is None and not self._awaited(number):
            raise MalformedFrameError(f"nothing of the id {number} may come now on this stream")
        if self._head is not None and (self._head != (kind, number) or index != len(self._pieces)):
            raise MalformedFrameError("a frame does not continue the message before it")
        piece = memoryview(frame)[_HEADER.size :]
        self._size += len(piece)
        if self._size > self._largest:
            raise MalformedFrameError(f"a message is larger than {self._largest} bytes")
        self._pieces.append(piece)
        if not last:
            self._head = (kind, number)
            return None
        return self._complete(kind, number)

    def _complete(self, kind: Kind, number: int) -> Message:
        payload = b"".join(self._pieces)
        if kind is Kind.FAILED and payload:
            raise MalformedFrameError("a failure says more than that it is one")
        self._head, self._pieces, self._size = None, [], 0
        return Message(number, kind, payload)

    def _read(self, frame: bytes) -> tuple[Kind, bool, int, int]:
        if len(frame) < _HEADER.size:
            raise MalformedFrameError("a frame is shorter than its header")
        version, kind, last, number, index = _HEADER.unpack_from(frame)
        if version != _VERSION:
            raise MalformedFrameError(f"a frame is of version {version}; this side knows 1")
        if kind not in self._kinds:
            raise MalformedFrameError(f"a frame is of kind {kind}, which is not sent this way")
        size = len(frame) - _HEADER.size
        if last > 1 or number == 0 or size > PIECE:
            raise MalformedFrameError("a frame's header says what none may say")
        if (not last and size < PIECE) or (last and not size and index):
            raise MalformedFrameError("a message is cut into other pieces than its form has")
        return Kind(kind), bool(last), number, index
