"""`entrepot aggregator people`: who may log in at the aggregator, on its own machine."""

import json
from pathlib import Path

import click

from experiments.commands.options import AS_JSON, FEDERATION
from experiments.exits import DONE
from policies.parties import Jurisdiction

PLACES = click.Choice([place.value for place in Jurisdiction])
ROLES = click.Choice(
    ["partner_operator", "officer", "data_team", "aggregator_operator", "regulator"]
)


@click.group()
def people() -> None:
    """Invite people to log in, list them, turn one away."""


@people.command()
@click.argument("person")
@FEDERATION
@click.option("--role", type=ROLES, required=True, help="What the person may do.")
@click.option("--organisation", required=True, help="Whose it is, spelt as everywhere.")
@click.option("--jurisdiction", type=PLACES, required=True, help="Under which law it works.")
@click.option("--hours", default=72.0, help="How long the token is good.")
@AS_JSON
def invite(
    person: str,
    federation: Path | None,
    role: str,
    organisation: str,
    jurisdiction: str,
    hours: float,
    as_json: bool,
) -> int:
    """Print one token with which PERSON enrols, once; hand it over where nobody else reads.

    Whoever is invited anew loses the sessions, codes and passkeys of before when it enrols.
    """
    from experiments.beginning import open_begun
    from experiments.people_invited import invite as invited
    from experiments.people_invited import seat_of, token_json

    seat = seat_of(person, organisation, role, jurisdiction)
    token = invited(open_begun(federation).hosting, seat, hours)
    click.echo(json.dumps(token_json(token, seat)) if as_json else str(token))
    if not as_json:
        click.echo(f"good once, for {hours:g} hours: entrepot person enrol TOKEN", err=True)
    return DONE


@people.command(name="list")
@FEDERATION
@AS_JSON
def list_people(federation: Path | None, as_json: bool) -> int:
    """List who has enrolled, in which role, and how many sessions are open."""
    from experiments.beginning import open_begun
    from experiments.people_invited import listed
    from experiments.telling import plain

    rows = listed(open_begun(federation).hosting)
    if as_json:
        value = {"schema": "entrepot.aggregator.people.list/1", "people": rows}
        click.echo(json.dumps(value, ensure_ascii=False))
        return DONE
    for row in rows:
        words = f"{plain(row['organisation'])} ({row['role']}, {row['jurisdiction']})"
        state = "DISABLED" if row["disabled"] else f"{row['sessions']} sessions"
        click.echo(f"{row['person']}: {words}, {state}")
    if not rows:
        click.echo("nobody has enrolled", err=True)
    return DONE


@people.command()
@click.argument("person")
@click.option("--restore", is_flag=True, help="Let PERSON log in again.")
@FEDERATION
@AS_JSON
def disable(person: str, restore: bool, federation: Path | None, as_json: bool) -> int:
    """Turn PERSON away at once: its sessions end, and it cannot log in."""
    from experiments.beginning import open_begun
    from experiments.people_invited import disable as disabled

    done = disabled(open_begun(federation).hosting, person, restore=restore)
    value = {"schema": "entrepot.aggregator.people.disable/1", **done}
    said = f"{person} may log in again" if restore else f"{person} is turned away"
    click.echo(json.dumps(value) if as_json else said)
    return DONE
