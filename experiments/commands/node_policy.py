"""`entrepot node policy`: what a law allows, whether it says what it should, what changes."""

import json
from pathlib import Path
from typing import Any

import click

from experiments.commands.options import AS_JSON, LANGUAGE

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def policy() -> None:
    """Show, test and compare the law of a node."""


@policy.command()
@click.argument("folder", type=FOLDER)
@LANGUAGE
@AS_JSON
def card(folder: Path, lang: Any, as_json: bool) -> int:
    """Show what the node in FOLDER will ever allow: purposes, prices, borders, limits, rules."""
    from experiments.policy_folder import card_of
    from experiments.policy_view import card_json, show_card

    drawn, others = card_of(folder)
    if as_json:
        click.echo(json.dumps(card_json(drawn, others), ensure_ascii=False))
    else:
        show_card(drawn, others, lang)
    return 0


@policy.command("test")
@click.argument("folder", type=FOLDER)
@click.argument("cases", type=FILE, required=False)
@AS_JSON
def test_(folder: Path, cases: Path | None, as_json: bool) -> int:
    """Hold the law in FOLDER to a given/expect table; exit 1 if it says anything else.

    CASES is a TOML file; without it policy/cases.toml of the node is used, or the table that ships
    with this software.
    """
    from experiments.policy_folder import tested
    from experiments.policy_view import outcomes_json, show_outcomes

    outcomes = tested(folder, cases)
    if as_json:
        click.echo(json.dumps(outcomes_json(outcomes), ensure_ascii=False))
    else:
        show_outcomes(outcomes)
    return 0 if all(outcome.is_as_expected for outcome in outcomes) else 1


@policy.command()
@click.argument("old", type=FOLDER)
@click.argument("new", type=FOLDER)
@AS_JSON
def diff(old: Path, new: Path, as_json: bool) -> int:
    """List the situations that the law in NEW judges otherwise than the law in OLD.

    Both are folders of nodes, or policy folders by themselves.
    """
    from experiments.policy_folder import compared
    from experiments.policy_view import difference_json, show_difference

    found = compared(old, new)
    if as_json:
        click.echo(json.dumps(difference_json(found), ensure_ascii=False))
    else:
        show_difference(found)
    return 0


@policy.command()
@click.argument("folder", type=FOLDER)
def write(folder: Path) -> int:
    """Write the territory's rules of the node in FOLDER from its own policy/pack.toml.

    Where there is none, a copy of the installed pack is put there: add what this node has on
    record, such as a certification, and write the rules again. `diff` shows what that changes.
    """
    from experiments.policy_folder import write as written

    text, is_new = written(folder)
    where = text.with_name("pack.toml")
    click.echo(f"{where} is a copy of the installed pack" if is_new else f"read {where}", err=True)
    click.echo(f"{text} is written from it; start the node again to let it hold", err=True)
    return 0
