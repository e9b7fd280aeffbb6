"""An entropy source that repeats itself: for tests alone."""

import hashlib


class SeededEntropy:
    """SHA-256 in counter mode: the same seed gives the same bytes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed.to_bytes(16, "big", signed=True)
        self._counter = 0
        self._buffer = b""

    def bytes(self, count: int) -> bytes:
        blocks = [self._buffer]
        have = len(self._buffer)
        while have < count:
            block = hashlib.shake_256(self._seed + self._counter.to_bytes(8, "big")).digest(4096)
            self._counter += 1
            blocks.append(block)
            have += len(block)
        pool = b"".join(blocks)
        self._buffer = pool[count:]
        return pool[:count]
