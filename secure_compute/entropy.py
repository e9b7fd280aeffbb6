"""Where chance comes from: an argument, so that only the composition root decides."""

import os
from typing import Protocol


class Entropy(Protocol):
    """A source of bytes that nobody can predict."""

    def bytes(self, count: int) -> bytes:
        """Return `count` fresh bytes."""
        ...


class SystemEntropy:
    """The operating system's cryptographic generator."""

    def bytes(self, count: int) -> bytes:
        """Return `count` fresh bytes from the operating system."""
        return os.urandom(count)
