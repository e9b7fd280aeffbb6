"""Which rows of a unit pass the bound, where all that is known of a unit is how many it has.

At most `most` of a unit's rows stay, and every choice of that many is as likely as any other. Of a
unit that has more, the smaller side is drawn, those that stay or those that go: one place after
another, each of the unit's rows as likely, and what was drawn before is drawn again. That takes two
draws for each row of the smaller side at most, in the mean, and no order of the rows.

Units are drawn independently, from the stream of one fresh seed that lives for one question. With
one unit less the others read other parts of the stream, and stay by the same law: that is what the
price of a question rests on, and no more.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secure_compute.entropy import Entropy
from secure_compute.primitives.seed_stream import SEED_SIZE, SeedStream

Whole: TypeAlias = NDArray[np.int64]
Truths: TypeAlias = NDArray[np.bool_]
_WORDS: Final = np.uint64(1 << 63)
_PURPOSE: Final = b"entrepot rows that stay within a bound"


def chosen(sizes: Whole, most: int, entropy: Entropy) -> Truths:
    """Return which rows stay, [sum of sizes], the first unit's rows first.

    sizes: how many rows each unit has, [units], each in [1, 2^63).
    most:  how many of a unit stay, at least 1.
    """
    ends = np.cumsum(sizes)
    drawn = np.zeros(int(ends[-1]) if len(ends) else 0, np.bool_)
    over = np.flatnonzero(sizes > most)
    wanted = np.minimum(most, sizes[over] - most)
    stream = SeedStream(entropy.bytes(SEED_SIZE), _PURPOSE)
    _draw(drawn, (ends - sizes)[over], sizes[over], wanted, stream)
    goes = sizes <= 2 * most  # those drawn are the ones that go, as many as are over the bound
    return drawn ^ (True if goes.all() else np.repeat(goes, sizes))


def _draw(drawn: Truths, first: Whole, sizes: Whole, wanted: Whole, stream: SeedStream) -> None:
    """Mark `wanted` different rows of each unit, every set of that size as likely as another."""
    while len(first):
        words = np.frombuffer(stream.bytes(8 * len(first)), "<u8") >> np.uint64(1)
        spans = sizes.astype(np.uint64)
        even = words < _WORDS - _WORDS % spans  # else the first places were likelier
        places = first + (words % spans).astype(np.int64)
        new = even & ~drawn[places]
        drawn[places[new]] = True
        wanted = wanted - new
        left = wanted > 0
        first, sizes, wanted = first[left], sizes[left], wanted[left]
