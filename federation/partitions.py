"""How rows fall into cells: by one feature, or by the questions of a tree that was drawn.

Edges are constants of a recipe, and trees follow from an order's public seed: no cell's place
depends on anybody's rows. A partition's REST, the cell where most rows are expected, is not told
in a sum: it follows from the others, and a row that lies there costs its unit none of the norm
that is bounded.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from federation.errors import MalformedOrderError
from policies.budget.events import spell

Cells: TypeAlias = NDArray[np.int64]

_PLAIN: Final = re.compile(r"(?!-0$)-?[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_MOST_EDGES: Final = 255


@dataclass(frozen=True, slots=True)
class Effect:
    """One feature in cells: a value lies in as many as there are edges at or below it.

    feature: its place among the inputs.
    edges:   ascending, in units of the model's input.
    rest:    the cell that is not told.
    weight:  how much of the bounded norm the effect may take, against the others'.
    """

    feature: int
    edges: tuple[Decimal, ...]
    rest: int
    weight: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        """Refuse edges that part nothing."""
        if self.feature < 0:
            raise MalformedOrderError("An effect's feature must not be below 0.")
        if not 1 <= len(self.edges) <= _MOST_EDGES:
            raise MalformedOrderError(f"An effect needs from 1 to {_MOST_EDGES} edges.")
        if any(float(low) >= float(high) for low, high in pairwise(self.edges)):
            raise MalformedOrderError("An effect's edges must ascend.")
        if not 0 <= self.rest < self.cells:
            raise MalformedOrderError("An effect's rest must be one of its cells.")
        if not self.weight > 0:
            raise MalformedOrderError("An effect's weight must be above 0.")

    @property
    def cells(self) -> int:
        """How many there are, the rest among them."""
        return len(self.edges) + 1

    def place(self, features: NDArray[np.floating[Any]]) -> Cells:
        """Return the cell of each row of `features` [inputs, ...], [...]; NaN lies in cell 0."""
        values = features[self.feature]
        place = np.zeros(values.shape, np.int64)
        for edge in self.edges:
            place += values >= float(edge)
        return place

    def to_json(self) -> dict[str, Any]:
        """Return the form inside a recipe."""
        edges = [spell(edge) for edge in self.edges]
        weight = spell(self.weight)
        return {"feature": self.feature, "edges": edges, "rest": self.rest, "weight": weight}

    @classmethod
    def from_json(cls, value: Any) -> "Effect":
        """Return the effect that `value` describes.

        Raises:
            MalformedOrderError: it is not of this form.
        """
        match value:
            case {
                "feature": int(feature),
                "edges": list(edges),
                "rest": int(rest),
                "weight": str(weight),
            } if len(value) == 4 and not (isinstance(feature, bool) or isinstance(rest, bool)):
                decimals = tuple(decimal_of("edges", edge) for edge in edges)
                return cls(feature, decimals, rest, decimal_of("weight", weight))
        raise MalformedOrderError("An effect names a feature, its edges, its rest and its weight.")


@dataclass(frozen=True, slots=True)
class Tree:
    """Rows parted by the same few questions for all: is effect e's cell at least t?

    The leaf is the answers as binary digits, the first question's the highest.
    """

    questions: tuple[tuple[Effect, int], ...]

    @property
    def weight(self) -> Decimal:
        """All trees of a round take as much of the bounded norm."""
        return Decimal(1)

    @property
    def cells(self) -> int:
        """How many leaves there are."""
        return int(1 << len(self.questions))

    @property
    def rest(self) -> int:
        """The leaf of a row that lies in every effect's rest."""
        rest = 0
        for effect, least in self.questions:
            rest = 2 * rest + (effect.rest >= least)
        return rest

    def place(self, features: NDArray[np.floating[Any]]) -> Cells:
        """Return the leaf of each row of `features` [inputs, ...], [...]."""
        leaf = np.zeros(features.shape[1:], np.int64)
        for effect, least in self.questions:
            leaf = 2 * leaf + (effect.place(features) >= least)
        return leaf


Partition: TypeAlias = Effect | Tree


def told_cells(part: Partition) -> Cells:
    """Return the cells that a unit's vector tells of, in its order: all but the rest."""
    return np.delete(np.arange(part.cells), part.rest)


def drawn(effects: Sequence[Effect], depth: int, name: str) -> Tree:
    """Return the tree of that name: distinct effects, each asked at one of its edges."""
    left, questions = list(effects), []
    for level in range(depth):
        effect = left.pop(_hashed(f"{name}/{level}/effect", len(left)))
        questions.append((effect, 1 + _hashed(f"{name}/{level}/edge", len(effect.edges))))
    return Tree(tuple(questions))


def _hashed(name: str, below: int) -> int:
    """Return a number in [0, below) that follows from `name`, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()) % below


def decimal_of(name: str, text: object) -> Decimal:
    """Return the number of `text`, which must be its one spelling.

    Raises:
        MalformedOrderError: it is not.
    """
    if not isinstance(text, str) or not _PLAIN.fullmatch(text) or spell(Decimal(text)) != text:
        raise MalformedOrderError(
            f"A boosting recipe's {name} is not a decimal number in its one form."
        )
    return Decimal(text)
