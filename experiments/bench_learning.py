"""How nearly private learning reaches a trusted curator: average precision of the fraud model.

Eight generated organisations, each with its own queue (`learning_sets`); the configured recipe
(conf/experiment/fraud.yaml), fixed before a test row was opened; ε of the gate at δ = 1e-6. Which
ways stand beside one another, and how runs are paired, says `learning_runs`; how sure a ratio is
says `learning_ratios`. Progress and the table for people go to stderr.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

from experiments import learning_public
from experiments.boosting_study import hybrid_ratio
from experiments.commerce.world import Size
from experiments.learning_ratios import Estimate, mean, ratio
from experiments.learning_runs import WAYS, Run, Way, recipe_of, scores, without_privacy
from experiments.learning_sets import ROWS, SEEDS, Level, make_set
from experiments.learning_sums import Array

Result: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[str], None]
Key: TypeAlias = tuple[Level, float, Way]

AT: Final = 2.0
"""The ε of the ratios."""

OTHERS: Final[Sequence[Callable[[Tell], Result]]] = (
    partial(learning_public.federated, "stallion"),
    partial(learning_public.federated, "handbook"),
    lambda tell: hybrid_ratio(tell=tell),
)
"""Studies beside the table, one result each: a further study is a further name here."""

_NAMES: Final[Mapping[Way, str]] = {
    "local_dp": "local DP: every node adds all the noise",
    "ours_c1": "ours, c = 1",
    "ours_c3": "ours, c = 3",
    "central": "central DP: a trusted curator",
}
_PLAIN: Final[Mapping[str, str]] = {
    "local_only": "each party alone, NOT PRIVATE",
    "pooled": "all rows in one place, NOT PRIVATE",
}


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    size, sets: of each generated commerce, and their seeds; epsilons: the table's columns.
    ratios, cells: noise seeds at the ε of the ratios, and in the other columns.
    """

    size: Size
    sets: tuple[int, ...]
    epsilons: tuple[float, ...]
    ratios: int
    cells: int

    def runs(self) -> list[Run]:
        """Return all runs on one set at one level."""
        return [
            Run(epsilon, way, seed)
            for epsilon in self.epsilons
            for way in WAYS
            for seed in range(self.ratios if epsilon == AT else self.cells)
        ]


QUICK: Final = Extent("small", SEEDS, (0.5, 1.0, AT, 4.0, 8.0), 16, 4)
FULL: Final = Extent("small", SEEDS, (0.5, 1.0, AT, 4.0, 8.0), 32, 8)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Scores: of every private way [sets, seeds], without privacy [sets, 1]; frauds [sets]."""

    frauds: Array
    private: Mapping[Key, Array]
    plain: Mapping[str, Array]


def run(full: bool) -> list[Result]:
    """Return the results; `full` draws noise more often."""
    with threadpool_limits(1, "blas"):  # small matrices: threads would wait for one another
        found = measure(FULL if full else QUICK, _tell)
        _tell(table(found))
        return [*ratios(found), *cells(found), *(other(_tell) for other in OTHERS)]


def measure(extent: Extent, tell: Tell) -> Found:
    """Return the scores of every run on every set."""
    frauds: list[int] = []
    plain: list[Mapping[str, float]] = []
    private: list[dict[tuple[Level, Run], float]] = []
    for seed in extent.sets:
        chosen = make_set(extent.size, seed)
        tell(f"set {seed}: {chosen.frauds} frauds in the test")
        frauds.append(chosen.frauds)
        plain.append(without_privacy(chosen))
        private.append({})
        for level in ROWS:
            recipes = {e: recipe_of(level, e, len(chosen.splits)) for e in extent.epsilons}
            several = scores(chosen, level, recipes, extent.runs())
            private[-1] |= {(level, one): score for one, score in several.items()}
            tell(f"set {seed}: {len(several)} runs, {level} level")
    return Found(
        np.array(frauds, float),
        _stacked(private),
        {way: np.array([[one[way]] for one in plain]) for way in plain[0]},
    )


def _stacked(each: Sequence[Mapping[tuple[Level, Run], float]]) -> dict[Key, Array]:
    """Return the scores of every cell, [sets, seeds], seeds in their order."""
    rows: dict[Key, list[list[float]]] = {}
    for level, one in each[0]:
        key = (level, one.epsilon, one.way)
        rows.setdefault(key, []).append([found[level, one] for found in each])
    return {key: np.array(values).T for key, values in rows.items()}


# -- results ---------------------------------------------------------------------------------------


def ratios(found: Found) -> list[Result]:
    """Return the ratios at ε = 2, each with its standard errors."""

    def of(one: Key, other: Key) -> Estimate:
        return ratio(found.private[one], found.private[other], found.frauds)

    central: Key = ("customer", AT, "central")
    ours: Key = ("customer", AT, "ours_c1")
    each = {
        "ap_ratio_eps2": (of(ours, central), 0.99),
        "ap_ratio_eps2_c3": (of(("customer", AT, "ours_c3"), central), 0.97),
        "customer_ratio_eps2": (of(ours, ("record", AT, "ours_c1")), 0.95),
        "ap_local_dp_ratio_eps2": (of(("customer", AT, "local_dp"), central), None),
    }
    return [_result(found, name, one, "ratio", reach) for name, (one, reach) in each.items()]


def cells(found: Found) -> list[Result]:
    """Return every cell of the table."""
    plain = [
        _result(found, f"ap_{way}", mean(values, found.frauds), "AP", None)
        for way, values in found.plain.items()
    ]
    private = [
        _result(found, f"ap_{level}_{way}_eps{epsilon:g}", mean(values, found.frauds), "AP", None)
        for (level, epsilon, way), values in found.private.items()
    ]
    return [*plain, *private]


def _result(found: Found, name: str, one: Estimate, unit: str, reach: float | None) -> Result:
    return {
        "name": name,
        "value": round(one.value, 4),
        "unit": unit,
        "peer": "reach" if reach else "",
        "peer_value": reach,
        "se": _rounded(one.seeds),
        "se_sets": _rounded(one.sets),
        "test_frauds": int(found.frauds.sum()),
    }


def _rounded(error: float | None) -> float | None:
    return None if error is None else round(error, 5)


def table(found: Found) -> str:
    """Return all cells as a table in Markdown, a row for each way at each level."""
    epsilons = sorted({epsilon for _, epsilon, _ in found.private})
    head = ["unit", "way", *(f"ε = {epsilon:g}" for epsilon in epsilons)]
    rows = [head, ["---"] * len(head)]
    for way, name in _PLAIN.items():
        rows.append(["none", name, *([_cell(found.plain[way], found)] * len(epsilons))])
    for level in ROWS:
        for way in WAYS:
            values = [_cell(found.private[level, epsilon, way], found) for epsilon in epsilons]
            rows.append([level, _NAMES[way], *values])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(scores: Array, found: Found) -> str:
    return f"{mean(scores, found.frauds).value:.3f}"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
