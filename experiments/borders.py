"""What crossed each border, counted in the captures: every message as it was signed and as it left.

A capture is a file of frames: the length of a message in 8 bytes, big-endian, then the message.
`aggregator/captures/*` and `nodes/<party>/captures/*` of a federation's folder hold them: `*.cap`
what was signed, which is counted and searched; `*.wire` the covers in which it left, which are
searched too, and in which nothing but covers may stand.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from experiments.border_rules import Register
from experiments.outcome import Crossing
from federation.control.captures import WIRE
from federation.covers import is_cover
from federation.envelopes import Envelope, parse
from federation.errors import FederationError

PREFIX: Final = 8
FORM: Final = b"ENTR"
"""How every message begins, signed or sealed."""

SEALED: Final = "sealed"
"""The kind of a message as it left: who carries it reads no other."""

UNREADABLE: Final = "unreadable"
"""The kind of a message that is of no kind: outside the closed union, or no message at all."""

UNKNOWN: Final = "?"


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as its sender captured it.

    sender:   whose capture holds it; what the message says of itself is only its word.
    envelope: None if the message cannot be read or is of a kind outside the closed union.
    torn:     the process died while it wrote this; whether it was sent nobody knows.
    is_sent:  whether this is a message as it left, where nothing but a cover may stand; the message
              in it has a frame of its own.
    """

    sender: str
    wire: bytes
    envelope: Envelope | None
    torn: bool = False
    is_sent: bool = False

    @property
    def kind(self) -> str:
        """The kind as the border table prints it."""
        if self.is_sealed:
            return SEALED
        return UNREADABLE if self.envelope is None else self.envelope.kind.value

    @property
    def is_sealed(self) -> bool:
        """Whether this is a cover that left."""
        return self.is_sent and is_cover(self.wire)

    @property
    def is_foreign(self) -> bool:
        """Whether this left although nothing of its kind may, or unsealed."""
        is_whole = self.is_sealed if self.is_sent else self.envelope is not None
        return not (is_whole or self.torn)


def read_captures(home: Path) -> tuple[Frame, ...]:
    """Return every message that any party of the federation at `home` sent, by party and file."""
    folders = [("aggregator", home / "aggregator" / "captures")]
    nodes = sorted(path for path in (home / "nodes").glob("*") if path.is_dir())
    folders += [(node.name, node / "captures") for node in nodes]
    return tuple(
        frame
        for party, folder in folders
        for file in sorted(path for path in folder.rglob("*") if path.is_file())
        for frame in split(party, file.read_bytes(), is_sent=file.suffix == WIRE)
    )


def split(sender: str, data: bytes, *, is_sent: bool = False) -> Iterator[Frame]:
    """Yield the frames of one capture; a frame cut short by a crash is `torn`, and skipped over."""
    position = 0
    while position < len(data):
        end = _end(data, position)
        torn = not _is_good(data, position) and _is_torn(data, position)
        if torn:
            end = _next_frame(data, position + 1)
        envelope = None if torn else _read(data, position)
        yield Frame(sender, data[position + PREFIX : end], envelope, torn, is_sent)
        position = end


def crossings(frames: Iterable[Frame], jurisdictions: Mapping[str, str]) -> tuple[Crossing, ...]:
    """Return who sent how much of what to whom, and under which rule.

    jurisdictions: by party, the aggregator's too.
    """
    kept = tuple(frame for frame in frames if not frame.is_sealed)
    register = Register(kept, jurisdictions)
    sums: dict[tuple[str, str, str, str], tuple[int, int]] = {}
    for frame in kept:
        recipient = UNKNOWN if frame.envelope is None else str(frame.envelope.recipient)
        key = (frame.sender, recipient, frame.kind, register.rule(frame))
        messages, size = sums.get(key, (0, 0))
        sums[key] = (messages + 1, size + len(frame.wire))
    return tuple(
        Crossing(
            sender,
            recipient,
            jurisdictions.get(sender, UNKNOWN),
            jurisdictions.get(recipient, UNKNOWN),
            kind,
            *sums[sender, recipient, kind, rule],
            rule,
        )
        for sender, recipient, kind, rule in sorted(sums)
    )


def _end(data: bytes, position: int) -> int:
    return position + PREFIX + int.from_bytes(data[position : position + PREFIX], "big")


def _read(data: bytes, position: int) -> Envelope | None:
    """Return the message whose frame begins at `position`, or None."""
    end = _end(data, position)
    if end > len(data):
        return None
    try:
        return parse(data[position + PREFIX : end])
    except FederationError:
        return None


def _is_good(data: bytes, position: int) -> bool:
    """Whether a whole message begins at `position`, signed or sealed."""
    end = _end(data, position)
    return _read(data, position) is not None or (
        end <= len(data) and is_cover(data[position + PREFIX : end])
    )


def _is_torn(data: bytes, position: int) -> bool:
    """Whether the unreadable frame at `position` was cut short, not meant so.

    It runs past the end; or it swallows the beginning of a good frame and ends where none begins.
    """
    end = _end(data, position)
    if end >= len(data):
        return end > len(data)
    return _next_frame(data, position + 1) < end and not _is_good(data, end)


def _next_frame(data: bytes, start: int) -> int:
    """Return where the next readable frame begins after a torn one, or the end."""
    found = data.find(FORM, start + PREFIX)
    while found >= 0:
        if _is_good(data, found - PREFIX):
            return found - PREFIX
        found = data.find(FORM, found + 1)
    return len(data)
