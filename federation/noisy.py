"""What noise of known size lets anybody say about a number: intervals, or that it is too noisy."""

import math
from typing import Final

NORMAL_95: Final = 1.959963984540054
"""The two-sided 95 % point of the normal law."""

TOO_NOISY: Final = "too noisy"
"""What stands in place of a number that cannot be told from noise."""


def ratio_interval(
    total: float, count: float, sigmas: tuple[int, int], contributors: int
) -> tuple[float, float] | None:
    """Return Fieller's 95 % interval of total/count, or None where the count may be zero.

    Both carry independent noise of variance n·σ². The r that the data do not reject solve
    (total - r·count)² <= z²·n·(σ_total² + r²·σ_count²); they form an interval exactly when
    count > z·sqrt(n)·σ_count [Fieller 1954, JRSS B 16(2)]. Else the cell says that it is too noisy:
    nothing is ever divided by a count that noise may have made.
    """
    spread = NORMAL_95 * math.sqrt(contributors)
    noise_total, noise_count = spread * sigmas[0], spread * sigmas[1]
    if count <= noise_count:
        return None
    lead = count * count - noise_count * noise_count
    root = math.sqrt(noise_total**2 * lead + noise_count**2 * total * total)
    return (total * count - root) / lead, (total * count + root) / lead
