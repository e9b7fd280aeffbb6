"""What a simulation found, as a table on a terminal: every way of working, side by side."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from experiments.poisoning import IN_ONE_SUM
from experiments.words import score

_WAYS: Final = {
    "naive": "what costs nothing",
    "local": "each party alone",
    "federated": "federated",
    "pooled": "all rows in one place",
}
_CASES: Final = {
    "honest": "its labels honest",
    "flipped": "its labels flipped",
    "without": "without it",
    "louder": "flipped, and {loudness} times what it clipped",
}
_CLIPPED: Final = {
    "ordered": "clipped and noised",
    "clipped": "clipped alone",
    "unclipped": "neither",
}
_CLIPPED_ALL: Final = {
    name + after: text + said
    for after, said in (("", ""), (IN_ONE_SUM, ", in one sum"))
    for name, text in _CLIPPED.items()
}
_TRIMMED: Final = (
    " Trimmed, a coordinate stays between those of the groups without it, under more noise."
)
_WARNING: Final = "NOT PRIVATE: for studies on data that you own; every node refuses this."
WIDTH: Final = 100


def simulation_table(value: Mapping[str, Any]) -> str:
    """Return the JSON of `entrepot simulate` as text for people."""
    console = Console(width=WIDTH, color_system=None, force_terminal=False)
    table = Table("", "over all rows", "mean of parties", title=str(value["measure"]))
    for way, text in _WAYS.items():
        table.add_row(text, score(value[way]), score(value[f"{way}_mean_of_parties"]))
    with console.capture() as shown:
        console.print(
            f"{value['model']} on {value['data']}, {value['parties']} parties, "
            f"{value['rounds']} rounds; held out: {value['split']}",
            markup=False,
        )
        console.print(table)
        console.print(_helped(value), markup=False)
        console.print(_privacy(value), markup=False)
        if "poisoning" in value:
            console.print(_poisoned(value["poisoning"]))
            console.print(_bounded(value["poisoning"]), markup=False)
        if "membership" in value:
            console.print(_attacked(value["membership"]), markup=False)
    return shown.get().rstrip()


def _helped(value: Mapping[str, Any]) -> str:
    return (
        f"Federated beats the better of the first two rows at {value['parties_helped']} of "
        f"{value['parties_measured']} parties."
    )


def _poisoned(found: Mapping[str, Any]) -> Table:
    ways = [way for way in _CLIPPED_ALL if way in found]
    title = f"average precision of the others, with {found['party']} and without"
    table = Table("", *(_CLIPPED_ALL[way] for way in ways), title=title)
    for case, text in _CASES.items():
        said = text.format(**found)
        table.add_row(said, *(score(found[way][case]) for way in ways))
    return table


def _bounded(found: Mapping[str, Any]) -> str:
    once = "One run each: the noise alone moves its column by hundredths. "
    trimmed = any(way.endswith(IN_ONE_SUM) for way in found)
    bound = (
        f"{found['party']} has {100 * found['unit_share']:.1f} of 100 customers: clipped, its part "
        "of what may move a sum is no more. That it clips is agreed, not proven: nobody sees what "
        "is under a mask."
    )
    return (once if "ordered" in found else "") + bound + (_TRIMMED if trimmed else "")


def _attacked(found: Mapping[str, Any]) -> str:
    return (
        f"A membership attack on a model of half of the units: {found['caught_of_100']} of 100 "
        f"members caught at one false alarm in a hundred (luck: 1; the price allows "
        f"{found['claimed_of_100']:g}); ROC area {found['roc_area']} ± {found['roc_error']}."
    )


def _privacy(value: Mapping[str, Any]) -> str:
    if value["epsilon"] is None:
        return f"{_WARNING}\n{value['claim']}."
    return f"ε = {value['epsilon']}. {value['claim']}."
