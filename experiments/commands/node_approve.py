"""`entrepot node approve` and `countersign`: a person looks at what waits, and says yes or no."""

import json
from pathlib import Path
from typing import Any

import click

from experiments.commands.asking import require_agreed
from experiments.commands.options import AS_JSON, LANGUAGE

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("order", required=False)
@click.option("--person", help="Who answers for it, by name; a disclosure tells it to both ends.")
@click.option("--legal-basis", help="Why it is lawful, in the person's words.")
@click.option("--refuse", is_flag=True, help="Say no.")
@click.option("--reason", help="Why not, in the person's words; it stays in the node's folder.")
@click.option("--standing", type=FILE, help="Approve every order within the envelope of a file.")
@click.option(
    "--like", is_flag=True, help="Approve every order like ORDER, which waits or was accepted."
)
@click.option("--times", default=10, help="With --like: how many such orders may be paid for.")
@click.option("--days", default=30, help="With --like: in so many days, after which it ends.")
@click.option("--withdraw", metavar="ID", help="End the standing approval ID.")
@click.option("--key", type=click.Path(path_type=Path), help="The person's key; else the node's.")
@click.option("--yes", is_flag=True, help="Do it without being asked once more.")
@LANGUAGE
@AS_JSON
def approve(folder: Path, order: str | None, yes: bool, as_json: bool, **options: Any) -> int:
    """Look at the ORDER that waits at the node in FOLDER, and approve or refuse it.

    Without ORDER everything that waits is listed. Without --person an order is only shown: its
    price for each account and what is left, what leaves and who learns what, which rules ask, in
    what it differs from the last approved order of its kind, and who else is asked.
    """
    from experiments.deciding import withdraw

    if options["withdraw"]:
        _say({"withdrawn": withdraw(folder, options["withdraw"])}, as_json)
    elif options["standing"]:
        _stand(folder, order, yes, as_json, options)
    elif order is None:
        _list(folder, as_json, options["lang"])
    else:
        _decide(folder, order, yes, as_json, options)
    return 0


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("order")
@click.option("--yes", is_flag=True, help="Sign without being asked once more.")
@LANGUAGE
@AS_JSON
def countersign(folder: Path, order: str, yes: bool, lang: Any, as_json: bool) -> int:
    """Put the name of the party in FOLDER to ORDER, as the second organisation that signs it.

    The order waits at this node because the federation wants two organisations to sign such
    orders. The signature goes to the others with this node's next answer.
    """
    from experiments.deciding import pending

    found = pending(folder, order)
    _show(found, as_json, lang)
    require_agreed("Countersign this order?", yes)
    found.countersign()
    _say({"countersigned": found.order.id}, as_json)
    return 0


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("key")
@click.option("--days", default=90, help="For how long; it cannot be taken back before.")
@AS_JSON
def mandate(folder: Path, key: str, days: int, as_json: bool) -> int:
    """Let whoever has KEY countersign for the party in FOLDER, at the aggregator's people's door.

    KEY is what `entrepot person mandate` prints on that person's machine. The line that this prints
    holds no secret; give it to the person. It stands in this node's ledger. It ends by itself, and
    with the node's identity key: nothing else ends it.
    """
    from experiments.mandating import give_mandate

    given = give_mandate(folder, key, days)
    value = {"mandate": str(given), "party": given.party, "until": given.until}
    said = json.dumps({"schema": "entrepot.node.mandate/1", **value})
    click.echo(said if as_json else value["mandate"])
    return 0


def _list(folder: Path, as_json: bool, lang: Any) -> None:
    from experiments.deciding import overview
    from experiments.deciding_view import listed

    found = overview(folder)
    click.echo(json.dumps(found, ensure_ascii=False) if as_json else listed(found, lang))


def _decide(folder: Path, order: str, yes: bool, as_json: bool, options: dict[str, Any]) -> None:
    from experiments.deciding import is_disclosure

    if is_disclosure(folder, order):
        _disclose(folder, order, yes, as_json, options)
        return
    from experiments.deciding import give, known, pending

    person = options["person"]
    found = (known if options["like"] else pending)(folder, order)
    shown = _show(found, as_json, options["lang"], quiet=bool(person))
    if person is None:
        if as_json:
            click.echo(json.dumps(shown | {"approved": False}, ensure_ascii=False))
        else:
            how = f"for a yes: entrepot node approve {folder} {order} --person NAME"
            click.echo(f"{how}; for a no add --refuse --reason WHY", err=True)
        return
    if options["like"]:
        standing = found.like(options["times"], options["days"])
        require_agreed(f"Approve every order within this envelope? {_terms(standing)}", yes)
        reason = options["legal_basis"] or found.order.legal_basis
        _say({"standing": give(folder, standing, person, reason, options["key"])}, as_json)
        return
    if options["refuse"]:
        reason = options["reason"] or "no reason given"
    else:
        reason = options["legal_basis"] or found.order.legal_basis
    require_agreed("Refuse this order?" if options["refuse"] else "Approve this order?", yes)
    key = found.say("no" if options["refuse"] else "yes", person, reason, options["key"])
    said = {"approved": not options["refuse"], "person": person, "key": key}
    if as_json:
        click.echo(json.dumps(shown | said, ensure_ascii=False))
    else:
        click.echo(f"{'refused' if options['refuse'] else 'approved'} by {person}")


def _disclose(folder: Path, order: str, yes: bool, as_json: bool, options: dict[str, Any]) -> None:
    from experiments.approving import spoken, waiting
    from experiments.errors import UsageError

    person, basis = options["person"], options["legal_basis"]
    found = waiting(folder, order)
    shown = found.shown()
    if not as_json:
        click.echo(spoken(shown), err=bool(person))
    if options["refuse"] and person is not None:
        require_agreed("Refuse this disclosure?", yes)
        found.refuse(person, options["reason"] or "no reason given", options["key"])
        _say({"approved": False, "person": person}, as_json)
        return
    if person is None and basis is None:
        if as_json:
            click.echo(json.dumps(shown | {"approved": False}))
        return
    if person is None or basis is None:
        raise UsageError("name both: --person NAME and --legal-basis WORDS")
    require_agreed("Approve this disclosure?", yes)
    signed = found.approve(person, basis, options["key"])
    approved = {"approved": True, "person": person, "key": signed.key.hex}
    click.echo(json.dumps(shown | approved) if as_json else f"approved by {person}")


def _stand(
    folder: Path, order: str | None, yes: bool, as_json: bool, options: dict[str, Any]
) -> None:
    from experiments.deciding import give, read_envelope
    from experiments.errors import UsageError

    if order is not None or not options["person"] or not options["legal_basis"]:
        raise UsageError(
            "a standing approval is for no one ORDER, and names --person and --legal-basis"
        )
    standing = read_envelope(options["standing"])
    require_agreed(f"Approve every order within this envelope? {_terms(standing)}", yes)
    given = give(folder, standing, options["person"], options["legal_basis"], options["key"])
    _say({"standing": given}, as_json)


def _terms(standing: Any) -> str:
    return json.dumps(standing.to_json(), ensure_ascii=False)


def _show(found: Any, as_json: bool, lang: Any, *, quiet: bool = True) -> dict[str, Any]:
    from experiments.deciding_view import spoken

    shown: dict[str, Any] = found.shown()
    if not as_json:
        click.echo(spoken(shown, lang), err=quiet)
    return shown


def _say(value: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema": "entrepot.node.approve/1", **value}, ensure_ascii=False))
    else:
        click.echo(" ".join(f"{name} {part}" for name, part in value.items()))
