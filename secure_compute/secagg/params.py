"""How many there are, how many may collude, how many must answer: refused together.

Everything counts organisations, never nodes: a cohort holds one node of each.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.secagg.ring import WIDTHS, Ring


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """One choice of numbers, safe if it can be constructed.

    organisations: n, the size of the cohort; at most 65,535.
    colluding:     c ≥ 1, the organisations that may work with the aggregator. Never 0: every node
                   sees the result and knows its own share of the noise.
    threshold:     t, the fewest survivors that are ever summed and the answers that open a sum.
    ring_bits:     w; sums are modulo 2^w.

    t > (n + c)/2, so that two sets of t always share an honest organisation: no two survivor sets
    of one round are both certified. t − c ≥ 2, so that a sum never holds one honest input alone.
    """

    organisations: int
    colluding: int
    threshold: int
    ring_bits: int = 32

    def __post_init__(self) -> None:
        reasons = _reasons(self)
        if reasons:
            raise LocalProtocolError("these numbers protect nobody: " + "; ".join(reasons))

    @classmethod
    def least(cls, organisations: int, colluding: int, ring_bits: int = 32) -> "Parameters":
        """Return the parameters with the lowest threshold, which tolerate the most dropouts."""
        return cls(
            organisations=organisations,
            colluding=colluding,
            threshold=least_threshold(organisations, colluding),
            ring_bits=ring_bits,
        )

    @property
    def dropouts(self) -> int:
        """Return n − t: parties that may be lost, the most whose pair seeds a node reveals."""
        return self.organisations - self.threshold

    @property
    def ring(self) -> Ring:
        """The integers modulo 2^ring_bits."""
        return Ring(self.ring_bits)

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, JSON]) -> "Parameters":
        """Read what `to_json` wrote.

        Raises:
            PeerProtocolError: other fields, or numbers that are refused.
        """
        names = {"organisations", "colluding", "threshold", "ring_bits"}
        numbers = {name: item for name, item in value.items() if type(item) is int}
        if set(value) != names or set(numbers) != names:
            raise PeerProtocolError("these are not the parameters of a secure sum")
        try:
            return cls(**numbers)
        except LocalProtocolError as why:
            raise PeerProtocolError(str(why)) from why


def least_threshold(organisations: int, colluding: int) -> int:
    """Return ⌊(n + c)/2⌋ + 1."""
    return (organisations + colluding) // 2 + 1


def _reasons(p: Parameters) -> list[str]:
    least = least_threshold(p.organisations, p.colluding)
    reasons = {
        f"a cohort has 3 to 65535 organisations, not {p.organisations}": not (
            3 <= p.organisations <= 65535
        ),
        f"at least 1 organisation is expected to collude, not {p.colluding}": p.colluding < 1,
        f"the threshold is at least {least}, more than half of {p.organisations} and "
        f"{p.colluding} colluding, and not {p.threshold}": p.threshold < least,
        f"the threshold cannot be {p.threshold} of {p.organisations} organisations": (
            p.threshold > p.organisations
        ),
        f"a sum of {p.threshold} could hold fewer than 2 honest inputs with {p.colluding} "
        "colluding": p.threshold - p.colluding < 2,
        f"the ring has {', '.join(map(str, WIDTHS))} bits, not {p.ring_bits}": (
            p.ring_bits not in WIDTHS
        ),
    }
    return [reason for reason, holds in reasons.items() if holds]
