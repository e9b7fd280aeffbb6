"""`entrepot psi`: match the people of two parties; `--explain` shows price and who learns what."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.commands.options import AS_JSON, FEDERATION

if TYPE_CHECKING:
    from federation.matching import Mode


@click.group()
def command() -> None:
    """Match the people of two parties: how many both know, or, by approval, which.

    A size, and a sum beside it, are noised at both ends and paid for like any answer. An
    intersection and join tokens tell which people are in both sets, which no noise hides: a person
    at each end has to approve them.
    """


def _mode(mode: "Mode", help_: str) -> None:
    @command.command(mode, help=help_)
    @click.argument("receiver")
    @click.argument("sender")
    @click.option("--on", required=True, help="Column of identifiers, such as email or phone.")
    @click.argument("overrides", nargs=-1)
    @click.option("--explain", is_flag=True, help="Show price and who learns what; do nothing.")
    @FEDERATION
    @AS_JSON
    def _run(
        receiver: str,
        sender: str,
        on: str,
        overrides: tuple[str, ...],
        explain: bool,
        federation: Path | None,
        as_json: bool,
    ) -> int:
        ends = {"mode": mode, "receiver": receiver, "sender": sender, "on": on}
        return _matched(ends, overrides, explain, federation, as_json)


def _matched(
    said: dict[str, Any],
    overrides: Sequence[str],
    explain: bool,
    federation: Path | None,
    as_json: bool,
) -> int:
    from experiments.home import open_home
    from experiments.matching import Wish, ask, explanation, match_order, read_terms
    from experiments.matching_view import explained, found

    home = open_home(federation)
    epsilon, bounds, terms = read_terms(overrides)
    wish = Wish(**{**said, **bounds}, epsilon=epsilon, terms=terms)
    order = match_order(home, wish)
    if explain:
        return _print(explanation(home, order), as_json, explained)
    return _print(_timed(lambda: ask(home, order, _say)), as_json, found)


_MORE = (
    "\n\nOVERRIDES: privacy.epsilon=0.5  purpose=fraud_prevention  legal_basis=contract"
    "\n\nA contract says how many people a set has and how many identifiers a person; where the "
    "contracts of both say other than the published one, say it too: cap=20000  most=1"
)
_mode("size", "About how many people RECEIVER and SENDER have in common, with noise." + _MORE)
_mode("intersection", "Which people both have, told to RECEIVER; people approve it." + _MORE)
_mode("tokens", "Tokens that align the people both have, for either; people approve it." + _MORE)


@command.command("sum")
@click.argument("receiver")
@click.argument("sender")
@click.option("--on", required=True, help="Column of identifiers, such as email or phone.")
@click.option("--of", required=True, help="Column of SENDER's numbers, with bounds: spent.")
@click.argument("overrides", nargs=-1)
@click.option("--explain", is_flag=True, help="Show price and who learns what; do nothing.")
@FEDERATION
@AS_JSON
def sum_(
    receiver: str,
    sender: str,
    on: str,
    of: str,
    overrides: tuple[str, ...],
    explain: bool,
    federation: Path | None,
    as_json: bool,
) -> int:
    """What the people whom RECEIVER and SENDER have in common have together at SENDER, with noise.

    The sum comes with the size, and either costs half of privacy.epsilon. One person counts with a
    number within the bounds of the contract, or within tighter ones: bound=200 unit=EUR.

    OVERRIDES: as for size, and bound=200  unit=EUR
    """
    from experiments.matching import read_bound

    bound, unit, rest = read_bound(overrides)
    said = {"mode": "sum", "receiver": receiver, "sender": sender, "on": on, "of": of}
    return _matched({**said, "bound": bound, "unit": unit}, rest, explain, federation, as_json)


@command.command()
@click.argument("order")
@FEDERATION
@AS_JSON
def resume(order: str, federation: Path | None, as_json: bool) -> int:
    """Go on with a match that waited for people, once they have approved it."""
    from experiments.home import open_home
    from experiments.matching import resume as resumed
    from experiments.matching_view import found

    home = open_home(federation)
    return _print(_timed(lambda: resumed(home, order, _say)), as_json, found)


def _timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started = time.monotonic()
    value = work()
    return value | {"seconds": round(time.monotonic() - started, 3)}


def _say(note: dict[str, Any]) -> None:
    from experiments.notes import line

    if text := line(note):
        click.echo(text, err=True)


def _print(value: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], str]) -> int:
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else show(value))
    return 0
