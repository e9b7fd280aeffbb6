"""Children that are killed, and what they had acknowledged before."""

import os
from collections.abc import Callable

Say = Callable[[str], object]


def fork(work: Callable[[Say], object]) -> tuple[int, int]:
    """Run `work` in a child; it says what was acknowledged through the pipe that is returned."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    status = 1
    try:
        os.close(read)
        work(lambda word: os.write(write, f"{word}\n".encode()))
        status = 0
    finally:
        os._exit(status)


def heard(child: int, pipe: int) -> tuple[list[str], int]:
    """Wait for the child's end; return what it had acknowledged, and how it ended."""
    with os.fdopen(pipe) as lines:
        words = lines.read().split()
    return words, os.waitpid(child, 0)[1]
