"""What a person is handed in pieces: the sealed answer to its question.

    answer_json(settings, known, 0)    # the first piece, how long the whole is, and its SHA-256

Who asks puts the pieces together and compares the hash; what is sealed, its own machine opens.
"""

import json
from typing import Any, Final

from aggregator.answer_files import fetch_answer
from aggregator.people_views import Known, NotTakenError
from aggregator.settings import AggregatorSettings
from federation.errors import MalformedMessageError
from secure_compute import canonical
from secure_compute.canonical import JSON

PIECE: Final = 1 << 20
"""Bytes of one piece; spelt in hexadecimal it is well within one answer."""


def piece(data: bytes, begin: int) -> dict[str, JSON]:
    """Return the piece of `data` that begins at `begin`; empty at its end.

    Raises:
        MalformedMessageError: it begins nowhere.
    """
    require_within(begin, len(data))
    return told(data[begin : begin + PIECE], len(data), canonical.digest_bytes(data))


def require_within(begin: int, size: int) -> None:
    """Return if a piece of so many bytes may begin there; errors: `piece`."""
    if not 0 <= begin <= size:
        raise MalformedMessageError("a piece begins within the whole")


def told(part: bytes, size: int, digest: str) -> dict[str, JSON]:
    """Return how a piece is told; size, digest: of the whole."""
    return {"part": part.hex(), "size": size, "digest": digest}


def answer_json(settings: AggregatorSettings, known: Known, begin: int) -> dict[str, JSON]:
    """Return what came of a question: its answer sealed, or a past release that answers it.

    Raises:
        NotTakenError: the order asks no question, or there is no answer yet.
        MalformedMessageError: see `piece`.
    """
    job, order = known.job, known.signed.order
    if order.kind != "query" or job.status != "done":
        raise NotTakenError(f"there is no answer to {job.id[:12]}: {order.kind}, {job.status}")
    result: dict[str, Any] = job.result or {}
    besides: dict[str, JSON] = {
        "parties": [str(party) for party in result["parties"]],
        "late": [str(party) for party in result.get("late", [])],
    }
    if result.get("reused"):
        past = result["reused"]
        besides["reused"] = {name: past[name] for name in ("run", "asked_at", "epsilon")}
        return {**besides, "answer": json.dumps(result["answer"])}
    return {**besides, **piece(fetch_answer(settings.answers, job.id).to_bytes(), begin)}
