"""What of the ledgers rides in letters about other things: heads, cosignatures, words of witnesses.

    blob        letter                            reply
    heads       heads of other parties' logs      —
    head        —                                 the sender's own head, with its proofs
    cosigned    what witnesses said of the        what the sender says of the heads in the letter
                recipient's heads
    seen        statements about the recipient    statements about whom the letter asked for
    forked      by witness, a head that the       by party, the head that a log signed and that the
                recipient's log once signed       one in the letter does not continue: its note

The aggregator only carries them. Whoever reads them checks every signature against the roster.
"""

import base64
from collections.abc import Mapping
from typing import Final

from federation.errors import MalformedMessageError
from secure_compute import canonical
from secure_compute.errors import NotCanonicalError

HEADS: Final = "heads"
HEAD: Final = "head"
COSIGNED: Final = "cosigned"
SEEN: Final = "seen"
FORKED: Final = "forked"
RIDING: Final = frozenset({HEADS, HEAD, COSIGNED, SEEN, FORKED})
"""Names of blobs that belong to the ledgers, whatever the letter is about."""

Cosigned = Mapping[str, Mapping[str, str]]
"""By the note of a checkpoint, and then by witness: its cosignature line."""


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Return the blob that holds one part per party."""
    coded = {name: base64.b64encode(part).decode() for name, part in parts.items()}
    return canonical.encode(coded)


def unpack(blob: bytes) -> dict[str, bytes]:
    """Read exactly what `pack` wrote.

    Raises:
        MalformedMessageError: it is something else.
    """
    parts = {}
    for name, text in _object(blob).items():
        try:
            parts[name] = base64.b64decode(str(text), validate=True)
        except ValueError as why:
            raise MalformedMessageError("a part that rides in a letter is not base64") from why
    if pack(parts) != blob:
        raise MalformedMessageError("a part that rides in a letter is misspelt")
    return parts


def pack_cosigned(cosigned: Cosigned) -> bytes:
    """Return the blob that holds cosignatures."""
    return canonical.encode({note: dict(lines) for note, lines in cosigned.items()})


def unpack_cosigned(blob: bytes) -> dict[str, dict[str, str]]:
    """Read exactly what `pack_cosigned` wrote; nothing in it is verified.

    Raises:
        MalformedMessageError: it is something else.
    """
    read: dict[str, dict[str, str]] = {}
    for note, lines in _object(blob).items():
        if not isinstance(lines, dict):
            raise MalformedMessageError("cosignatures stand by witness")
        read[note] = {witness: str(line) for witness, line in lines.items()}
    if pack_cosigned(read) != blob:
        raise MalformedMessageError("a cosignature that rides in a letter is misspelt")
    return read


def _object(blob: bytes) -> dict[str, canonical.JSON]:
    try:
        value = canonical.decode(blob)
    except NotCanonicalError as why:
        raise MalformedMessageError("what rides in a letter is not canonical") from why
    if not isinstance(value, dict):
        raise MalformedMessageError("what rides in a letter stands by party")
    return value
