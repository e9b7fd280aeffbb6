"""Where a simulation's nodes do their part of a round: in this process, or elsewhere.

A part is a function of the public weights, one party's rows and the round's number. What is made of
all parts is another: so whoever runs the parts decides nothing about the result.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from clients.training.sampling import UnitRows
from federation.models import Vector

Vectors: TypeAlias = dict[Any, NDArray[Any]]

Part: TypeAlias = Callable[[Vector, UnitRows, int], NDArray[Any]]
"""(weights [d], rows, number) → what one party sends in round `number`, from 0."""

Ask: TypeAlias = Callable[[Vector, int], Vectors]
"""(weights, number) → the parts of all parties."""

Work: TypeAlias = Callable[[Ask], Vector]
"""A run from its first round to its weights."""

Engine: TypeAlias = Callable[[Part, Mapping[Any, UnitRows], Work], Vector]


def in_process(part: Part, rows: Mapping[Any, UnitRows], work: Work) -> Vector:
    """Return what `work` comes to, with every part done here, one after another."""
    return work(
        lambda weights, number: {party: part(weights, one, number) for party, one in rows.items()}
    )
