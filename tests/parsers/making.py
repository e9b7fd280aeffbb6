"""What parsers are made of."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from aggregator.errors import AggregatorError
from clients.errors import ClientError
from experiments.errors import ExperimentError
from federation.errors import FederationError
from policies.errors import PolicyError
from secure_compute import canonical
from secure_compute.errors import SecureComputeError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey
from tests.simulator import Simulation

REFUSALS: Final = (
    PolicyError,
    SecureComputeError,
    FederationError,
    ClientError,
    AggregatorError,
    ExperimentError,
)
"""What a parser may raise: errors that say who is at fault. Anything else is a crash."""


CASES_AT: Final = 20_000


@dataclass(frozen=True)
class Parser:
    """One way in. names: the functions that it goes through; valid: makes bytes that are read."""

    names: tuple[str, ...]
    read: Callable[[bytes], object]
    valid: Callable[[], Sequence[bytes]]
    text: bool = False

    @property
    def name(self) -> str:
        return self.names[0]


def of_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A reader of text: what is no UTF-8 comes with signs that none has."""
    return lambda data: read(data.decode("utf-8", "replace"))


def of_value(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """A reader of a JSON value that came in canonical bytes."""
    return lambda data: read(canonical.decode(data))


def of_mapping(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """A reader of a JSON object; whoever calls it has seen that it is one."""

    def reading(data: bytes) -> object:
        value = canonical.decode(data)
        return read(value) if isinstance(value, dict) else None

    return reading


def objects(*values: Any) -> Callable[[], list[bytes]]:
    return lambda: [canonical.encode(value.to_json()) for value in values]


def values(*values: Any) -> Callable[[], list[bytes]]:
    return lambda: [canonical.encode(value) for value in values]


def resigned(key: SigningKey, read: Callable[[bytes], object], label: bytes = b"") -> Any:
    """A reader of a signature and a body; the body is signed anew by a member that lies."""

    def reading(wire: bytes) -> object:
        body = wire[SIGNATURE_SIZE:]
        return read(key.sign(label + body) + body)

    return reading


def of_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    def reading(data: bytes) -> object:
        path = a_folder() / name
        path.write_bytes(data)
        found = read(path)
        return list(found) if isinstance(found, Iterator) else found

    return reading


@cache
def a_folder() -> Path:
    kept = tempfile.TemporaryDirectory(prefix="parsers-")
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT: Final[list[object]] = []


@cache
def a_federation() -> Simulation:
    return Simulation(a_folder() / "federation")


@cache
def a_query() -> Any:
    return a_federation().query()
