"""What it costs to seal a message, beside signing it: CPU of both ends, paired in the same run."""

import os
import time
from collections.abc import Callable
from typing import Any, Final

from experiments.founding import AGGREGATOR
from federation.covers import OVERHEAD, cover, uncover
from federation.envelopes import Envelope, open_envelope, seal
from federation.membership import Member, Roster
from federation.messages import Kind
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.primitives.hpke import PRIVATE_SIZE, OpeningKey
from secure_compute.primitives.signature import KEY_SIZE, SigningKey

SIZES: Final = (("1kib", 1 << 10), ("4mib", 4 << 20))
_PIN: Final = "0" * 64
_NODE: Final = PartyId("node")
Result = dict[str, Any]


def rows(times: int) -> list[Result]:
    """The milliseconds of signing, sealing, opening and verifying, beside signing and verifying."""
    found = [_row(name, _cost(size, times)) for name, size in SIZES]
    return [*found, _result("sealed_overhead_bytes", OVERHEAD, "bytes", None)]


def _cost(size: int, times: int) -> tuple[float, float]:
    """Return the least CPU milliseconds of a message that travels signed, and of one sealed too."""
    key, opening = SigningKey(os.urandom(KEY_SIZE)), OpeningKey(os.urandom(PRIVATE_SIZE))
    own = (SigningKey(os.urandom(KEY_SIZE)).verify_key, opening.sealing_key)
    node = Member(_NODE, "Node", Role.MERCHANT, Jurisdiction.EU, key.verify_key)
    table = Member(AGGREGATOR, "Table", Role.AGGREGATOR, Jurisdiction.EU, *own)
    roster = Roster("bench", 1, (node, table))
    letter = Envelope(Kind.TRAIN_UPDATE, _NODE, AGGREGATOR, blobs={"update": os.urandom(size)})

    def signed() -> None:
        open_envelope(seal(letter, key), roster, AGGREGATOR)

    def sealed() -> None:
        wire = cover(seal(letter, key), table, _PIN)
        open_envelope(uncover(wire, [opening], AGGREGATOR, _PIN), roster, AGGREGATOR)

    return _least(signed, times), _least(sealed, times)


def _least(step: Callable[[], None], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        begun = time.process_time()
        step()
        best = min(best, time.process_time() - begun)
    return 1000 * best


def _row(name: str, cost: tuple[float, float]) -> Result:
    signed, sealed = cost
    return _result(f"sealed_{name}_ms", sealed, "ms CPU", signed)


def _result(name: str, value: float, unit: str, signed: float | None) -> Result:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "peer": "" if signed is None else "the same message signed alone",
        "peer_value": None if signed is None else round(signed, 2),
    }
