"""What a party found on its own rows, as a table on a terminal or as JSON for its own scripts."""

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from aggregator.standing import held_back, is_held_back
from clients.training.own import Gain, Way
from experiments.comparing import Compared

WIDTH: Final = 100
_MEASURES: Final = {
    "average_precision": "average precision, higher is better",
    "wape": "WAPE, lower is better",
}
_WAYS: Final[dict[Way, str]] = {
    "alone": "trained alone, on these rows only",
    "federated": "the federation's, as it came",
    "fine-tuned": "the federation's, fitted further here",
}
STAYS: Final = (
    "exact figures of this node's own rows: nothing was sent, charged or written down; whoever is "
    "shown them learns them"
)


def compared_json(value: Compared) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    found, rows = value.found, value.rows
    return {
        "schema": "entrepot.node.compare/1",
        "party": str(value.party),
        "run": value.card.run,
        "round": value.card.round,
        "model": value.card.model,
        "contract": value.card.contract,
        "models_verified": value.chain,
        "same_code": value.same_code,
        "gate": dict(value.card.gate),
        "since": rows.since,
        "rows_trained_on": rows.trained,
        "rows_tested_on": len(rows.test.units),
        "positives": rows.positives,
        "measure": found.metric,
        "alone": round(found.values["alone"], 6),
        "federated": round(found.values["federated"], 6),
        "fine_tuned": _rounded(found.values.get("fine-tuned")),
        "gain_federated": _gain_json(found.federated),
        "gain_fine_tuned": _gain_json(found.fine_tuned),
        "answer": found.answer,
    }


def compared_table(value: Compared) -> str:
    """Return the same for people."""
    found = value.found
    console = Console(width=WIDTH, color_system=None, force_terminal=False)
    table = Table("", "value", "gain over alone", "95 % interval", title=_MEASURES[found.metric])
    gains: dict[Way, Gain | None] = {
        "federated": found.federated, "fine-tuned": found.fine_tuned
    }  # fmt: skip
    for way, text in _WAYS.items():
        table.add_row(text, *_cells(found.values.get(way), gains.get(way)))
    with console.capture() as shown:
        console.print(_headline(value), markup=False)
        console.print(table)
        console.print(f"For {value.party}: {found.answer}.", markup=False)
    return shown.get().rstrip()


def remarks(value: Compared) -> Iterator[str]:
    """Yield what an operator should know beside the figures."""
    if value.found.fine_tuned is None:
        yield "a boosted model is made of trees: steps of a gradient cannot fit it further"
    if is_held_back(value.card.gate):
        yield f"the federation holds this model back: {held_back(value.card.gate)}"
    if value.card.recipe.get("evaluation") and not value.card.metrics:
        yield "a later file of its run measured these weights: it may hold them back"
    if not value.chain:
        yield "the models that this one was made from did not come with it; its own digest holds"
    if not value.card.until:
        yield (
            "its card does not say which rows the run read: if it read some from "
            f"{value.rows.since} on, its figures flatter it"
        )
    if not value.same_code:
        yield (
            f"the run was of other software ({value.card.code[:12]}): if features are computed "
            "otherwise here, its model is judged unfairly"
        )
    yield STAYS


def _headline(value: Compared) -> str:
    rows = value.rows
    frauds = "" if rows.positives is None else f", {rows.positives} of them known as fraud"
    return (
        f"{value.card.model}, round {value.card.round} of run {value.card.run[:12]}, on the rows "
        f"of {value.party}: {rows.trained} to train on before {rows.since}, "
        f"{len(rows.test.units)} to test on since then{frauds}"
    )


def _cells(found: float | None, gain: Gain | None) -> tuple[str, str, str]:
    if found is None:
        return "–", "–", "–"
    if gain is None:
        return f"{found:.3f}", "", ""
    return f"{found:.3f}", f"{gain.value:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"


def _gain_json(gain: Gain | None) -> dict[str, float] | None:
    if gain is None:
        return None
    return {"value": round(gain.value, 6), "low": round(gain.low, 6), "high": round(gain.high, 6)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
