"""Cells in coefficients: several to a ciphertext, a wide one cut into limbs that add without carry.

A cell's value v in [−reach, reach] is v = Σ limbₖ·2^(w·k), the lower limbs in [0, 2^w) and the top
one signed. Sums of limbs over all parties stay within the plain modulus, so that they open to
themselves, and the same formula gives the sum of the cells, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.threshold.params import LARGEST, SLOTS

MAX_CELLS: Final = 1 << 24
MAX_REACH: Final = 1 << 192


@dataclass(frozen=True)
class Layout:
    """Where `cells` values of at most ±`reach` from each of `parties` stand.

    reach: from plan and order, noise included, never from the values.
    """

    cells: int
    reach: int
    parties: int

    def __post_init__(self) -> None:
        if not 1 <= self.cells <= MAX_CELLS or not 1 <= self.reach <= MAX_REACH or self.parties < 1:
            raise LocalProtocolError(
                f"{self.cells} cells of ±{self.reach} from {self.parties} parties: at most "
                f"{MAX_CELLS} cells of 192 bits fit, and at least one"
            )

    @cached_property
    def bits(self) -> int:
        """Bits w of a limb: as many as the parties' sum of them leaves room for."""
        return (LARGEST // self.parties).bit_length() - 1

    @cached_property
    def limbs(self) -> int:
        """Coefficients for each cell: the fewest whose top one cannot wrap either."""
        count = 1
        while self.parties * _top(self.reach, self.bits * (count - 1)) > LARGEST:
            count += 1
        return count

    @property
    def chunks(self) -> int:
        """Ciphertexts for all cells."""
        return -(-self.cells * self.limbs // SLOTS)

    def spread(self, values: Sequence[int]) -> tuple[NDArray[np.int64], ...]:
        """Return the coefficients of each ciphertext, [8192] each, zeros behind the last cell.

        Raises:
            LocalProtocolError: another number of values, or one beyond `reach`.
        """
        if len(values) != self.cells:
            raise LocalProtocolError(f"{len(values)} values for {self.cells} cells")
        if max(values) > self.reach or min(values) < -self.reach:
            raise LocalProtocolError("a noised value is beyond the bound that the plan gives it")
        rows = np.zeros(self.chunks * SLOTS, dtype=np.int64)
        rows[: self.cells * self.limbs] = [limb for value in values for limb in self._cut(value)]
        return tuple(rows.reshape(self.chunks, SLOTS))

    def collect(self, opened: Sequence[NDArray[np.int64]], contributors: int) -> tuple[int, ...]:
        """Return the sums of the cells over so many parties.

        Raises:
            PeerProtocolError: a sum is larger than these parties can reach, or something stands
                behind the last cell: a ciphertext was not made by these rules, or wrapped.
        """
        rows = np.concatenate(opened)
        used = self.cells * self.limbs
        if len(opened) != self.chunks or rows[used:].any():
            raise PeerProtocolError("something stands behind the last cell of an opened sum")
        limbs = rows[:used].reshape(self.cells, self.limbs).tolist()
        sums = tuple(
            sum(limb << self.bits * place for place, limb in enumerate(cell)) for cell in limbs
        )
        if max(sums) > contributors * self.reach or min(sums) < -contributors * self.reach:
            raise PeerProtocolError("an opened sum is larger than its parties could make it")
        return sums

    def _cut(self, value: int) -> list[int]:
        mask = (1 << self.bits) - 1
        low = [(value >> self.bits * place) & mask for place in range(self.limbs - 1)]
        return [*low, value >> self.bits * (self.limbs - 1)]


def _top(reach: int, shift: int) -> int:
    """Return the largest absolute value of ±reach shifted, which rounds downwards."""
    return -(-reach >> shift)
