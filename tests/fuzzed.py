"""Parsers under mutants: who raises what no parser may, or takes more memory than is due."""

import random
import signal
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.mutated import mutate
from tests.parsers import REFUSALS, Parser

ROOM: Final = 64 << 20
"""Bytes that any parse may take, however short its input."""

PER_BYTE: Final = 64
"""Bytes that a parse may take for each byte of its input, beyond `ROOM`."""

_HANGS: Final = 20.0
_WEIGHED_EVERY: Final = 8


@dataclass(frozen=True)
class Crash:
    """A mutant that a parser did not refuse as it should. where: the line that raised."""

    parser: str
    what: str
    where: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.parser}: {self.what} at {self.where}, from {self.data[:300]!r}"


def crash_of(parser: Parser, data: bytes, *, weigh: bool = False) -> Crash | None:
    """Return how a parser fails on these bytes; None where it reads or refuses them."""
    try:
        with _not_for_ever():
            if weigh:
                return _weighed(parser, data)
            parser.read(data)
    except REFUSALS:
        return None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as why:  # noqa: BLE001  a panic of a library is no Exception
        last = traceback.extract_tb(why.__traceback__)[-1]
        return Crash(
            parser.name,
            f"{type(why).__name__}: {why}"[:200],
            f"{last.filename}:{last.lineno}",
            data,
        )
    return None


def fuzz(
    parsers: Iterable[Parser], seed: int, enough: Callable[[], Callable[[], bool]]
) -> Iterator[Crash]:
    """Yield the crashes of each parser under mutants of its valid bytes.

    enough: begins with a parser and returns what says when it had its share.
    """
    for parser in parsers:
        chance, valid = random.Random(f"{seed} {parser.name}"), list(parser.valid())
        had = enough()
        while not had():
            data = mutate(chance.choice(valid), chance.choice(valid), chance, parser.text)
            crash = crash_of(parser, data, weigh=chance.randrange(_WEIGHED_EVERY) == 0)
            if crash is not None:
                yield crash


def rounds(count: int) -> Callable[[], Callable[[], bool]]:
    """Enough is a number of mutants."""

    def begin() -> Callable[[], bool]:
        left = iter(range(count))
        return lambda: next(left, None) is None

    return begin


def seconds(share: float) -> Callable[[], Callable[[], bool]]:
    """Enough is so much processor time."""

    def begin() -> Callable[[], bool]:
        end = time.process_time() + share
        return lambda: time.process_time() > end

    return begin


def distinct(crashes: Iterable[Crash]) -> Sequence[Crash]:
    """Return one crash of each parser and line."""
    return list({(crash.parser, crash.where): crash for crash in crashes}.values())


def _weighed(parser: Parser, data: bytes) -> Crash | None:
    tracemalloc.start()
    try:
        parser.read(data)
    except REFUSALS:
        pass
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    if most <= ROOM + PER_BYTE * len(data):
        return None
    return Crash(parser.name, f"takes {most >> 20} MiB for {len(data)} bytes", "", data)


@contextmanager
def _not_for_ever() -> Iterator[None]:
    """Raise where the work inside does not come to an end."""

    def too_long(*_: Any) -> None:
        raise TimeoutError("the parser does not come to an end")

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, _HANGS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
