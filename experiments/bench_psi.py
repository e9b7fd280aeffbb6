"""Matching a hundred thousand people with as many, beside the library one would take instead.

Processor time of both ends together, worker processes included: masking, replying and counting of a
noised size, half of the people in common. The library, where it is installed, does the same count
in one process and without noise.
"""

import importlib
import os
import time
from typing import Any, Final

from secure_compute.entropy import SystemEntropy
from secure_compute.psi import session
from secure_compute.psi.dummies import Law
from secure_compute.psi.identifiers import Kind
from secure_compute.psi.masking import Spread, all_cores
from secure_compute.psi.opening import Bound, bind, open_session
from secure_compute.psi.sets import SALT, Book, Chosen
from secure_compute.psi.terms import Reveals, Role, Terms

FULL: Final = 100_000
_ENTROPY: Final = SystemEntropy()


def psi_100k_cpu_s(count: int = FULL) -> float:
    """Return the processor time of one size, `count` people a side, seconds."""
    return float(measured(count)["cpu_s"])


def measured(count: int = FULL) -> dict[str, Any]:
    """Return what one size took, and how far it was from the truth."""
    terms = _terms(count)
    mine, theirs = (_set(first, count) for first in (0, count // 2))
    before, began = _cpu(), time.monotonic()
    with all_cores() as spread:
        noised = _size(terms, mine, theirs, spread)
    return {
        "people": count,
        "cpu_s": round(_cpu() - before, 2),
        "wall_s": round(time.monotonic() - began, 2),
        "off_by": noised - (count - count // 2),
        "bytes": 2 * 32 * count,
    }


def openmined(count: int = FULL) -> dict[str, Any] | None:
    """Return what openmined-psi takes for the same count; None where it is not installed."""
    try:
        psi = importlib.import_module("private_set_intersection.python")
    except ImportError:
        return None
    mine, theirs = (list(_set(first, count).identifiers) for first in (0, count // 2))
    before, began = _cpu(), time.monotonic()
    client, server = psi.client.CreateWithNewKey(False), psi.server.CreateWithNewKey(False)
    setup = server.CreateSetupMessage(1e-9, len(mine), theirs, psi.DataStructure.GCS)
    response = server.ProcessRequest(client.CreateRequest(mine))
    found = client.GetIntersectionSize(setup, response)
    return {
        "people": count,
        "cpu_s": round(_cpu() - before, 2),
        "wall_s": round(time.monotonic() - began, 2),
        "off_by": int(found) - (count - count // 2),
    }


def run(full: bool) -> list[dict[str, Any]]:
    """Return the results: a tenth of the people unless `full`."""
    count = FULL if full else FULL // 10
    other = openmined(count)
    beside = other or {"absent": "openmined-psi is not installed"}
    return [
        {"name": "psi_100k_cpu_s" if full else "psi_10k_cpu_s", **measured(count)},
        {"name": "openmined-psi", **beside},
    ]


def _size(terms: Terms, mine: Chosen, theirs: Chosen, spread: Spread) -> int:
    (here, receiver), (there, sender) = _bound(terms, mine, theirs)
    here, blinded, listed = session.blind(here, receiver, _ENTROPY, spread)
    there, _, reply = session.reply(there, sender, listed, _ENTROPY, spread)
    return session.conclude(here, blinded, reply, spread)[1].noised


def _bound(
    terms: Terms, mine: Chosen, theirs: Chosen
) -> tuple[tuple[Book, Bound], tuple[Book, Bound]]:
    here, one, said = open_session(Book(), terms, Role.RECEIVER, mine)
    there, other, answered = open_session(Book(), terms, Role.SENDER, theirs)
    return bind(here, one, answered), bind(there, other, said)


def _set(first: int, count: int) -> Chosen:
    texts = sorted(f"person{number}@example.org" for number in range(first, first + count))
    return Chosen(tuple(texts), _ENTROPY.bytes(SALT))


def _terms(count: int) -> Terms:
    return Terms(
        federation="bench",
        session=_ENTROPY.bytes(16).hex(),
        window="one",
        approval="one",
        kind=Kind.EMAIL,
        reveals=Reveals.SIZE,
        receiver="receiver",
        sender="sender",
        receiver_cap=count,
        sender_cap=count,
        most=1,
        dummies=Law(2, 44),
    )


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
