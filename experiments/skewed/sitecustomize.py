"""Python reads this before anything else where this folder leads PYTHONPATH: it sets a clock.

`time.time` and `time.time_ns` are ahead by what the file named by ENTREPOT_CLOCK says at each look,
in seconds. What only passes (`time.monotonic`) and what C code asks of the kernel, such as how old
a certificate is, stays as it is.
"""

import os
import time
from collections.abc import Callable


def _skew(path: str) -> None:
    real: Callable[[], int] = time.time_ns

    def time_ns() -> int:
        with open(path, "rb") as ahead:  # noqa: PTH123  nothing more than needed is imported here
            return real() + int(ahead.read()) * 1_000_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


if "ENTREPOT_CLOCK" in os.environ:
    _skew(os.environ["ENTREPOT_CLOCK"])
