"""`entrepot aggregator init`, `invite`, `uninvite`, `pending`, `found`: who becomes a member."""

import json
import time
from pathlib import Path
from typing import Any

import click

from experiments.commands.asking import require_agreed
from experiments.commands.options import AS_JSON, FEDERATION
from experiments.exits import DONE, WAITING_FOR_APPROVAL
from policies.parties import DATA_ROLES, Jurisdiction, PartyId, Role

PLACES = click.Choice([place.value for place in Jurisdiction])
ROLES = click.Choice([*(role.value for role in DATA_ROLES), Role.KEYHOLDER.value])
LOOK = 0.5


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", required=True, help="Name of the federation.")
@click.option("--organisation", required=True, help="Who runs the aggregator.")
@click.option("--jurisdiction", type=PLACES, required=True, help="Where it runs.")
@click.option("--analyst-organisation", help="Whose data team asks; else who runs the aggregator.")
@click.option("--address", default="127.0.0.1", help="Host under which nodes reach this machine.")
@click.option("--colluding", default=1, help="Organisations that may collude with the aggregator.")
@click.option("--threshold", default=2, help="Keyholders that open an answer together.")
@click.option("--certificate-days", default=30, help="How long a node's certificate is good.")
@AS_JSON
def init(
    folder: Path,
    name: str,
    organisation: str,
    jurisdiction: str,
    analyst_organisation: str | None,
    address: str,
    colluding: int,
    threshold: int,
    certificate_days: int,
    as_json: bool,
) -> int:
    """Begin a federation in FOLDER: its aggregator, its authority, the data team's key.

    Nobody is a member yet: invite parties, run the aggregator, and found it when they have joined.
    """
    from experiments.beginning import Plan, begin
    from experiments.founding import free_ports

    plan = Plan(
        name=name,
        organisation=organisation,
        jurisdiction=Jurisdiction(jurisdiction),
        analyst=analyst_organisation or organisation,
        address=address,
        colluding=colluding,
        threshold=threshold,
        days=certificate_days,
    )
    begun = begin(folder, plan, free_ports())
    hosting = begun.hosting
    ports = {
        "fleet": hosting.fleet_port,
        "stream": hosting.stream_port,
        "join": hosting.join_port,
    }
    if as_json:
        value: dict[str, Any] = {"schema": "entrepot.aggregator.init/1", "name": name}
        click.echo(json.dumps(value | {"folder": str(begun.folder), "ports": ports}))
        return DONE
    listed = ", ".join(f"{kind} {port}" for kind, port in ports.items())
    click.echo(f"{name} begins in {begun.folder}; open these ports to the nodes: {listed}")
    click.echo(f"next: entrepot aggregator invite --federation {folder} …", err=True)
    click.echo(f"and:  entrepot aggregator run --federation {folder}", err=True)
    return DONE


@click.command()
@FEDERATION
@click.option("--role", type=ROLES, required=True, help="What the party does.")
@click.option("--jurisdiction", type=PLACES, required=True, help="Where its data lives.")
@click.option("--party", required=True, help="Its name, such as warehouse-cn.")
@click.option("--organisation", required=True, help="Whose it is, spelt as everywhere.")
@click.option("--hours", default=72.0, help="How long the token is good.")
@AS_JSON
def invite(
    federation: Path | None,
    role: str,
    jurisdiction: str,
    party: str,
    organisation: str,
    hours: float,
    as_json: bool,
) -> int:
    """Print one token with which a party joins, once; hand it over where nobody else reads."""
    from experiments.beginning import open_begun
    from experiments.founding import Seat
    from experiments.inviting import invite as invited
    from experiments.inviting import looks_like, token_json

    begun = open_begun(federation)
    seat = Seat(PartyId(party), organisation, Role(role), Jurisdiction(jurisdiction))
    token = invited(begun, seat, hours)
    click.echo(json.dumps(token_json(token, seat)) if as_json else str(token))
    if not as_json:
        click.echo(f"good once, for {hours:g} hours: entrepot node join TOKEN", err=True)
    for known, other in looks_like(begun, seat).items():
        said = f"{organisation!r} counts as another organisation than {known!r} of {other}"
        undo = f"entrepot aggregator uninvite {party}"
        click.echo(f"warning: {said}; if it is the same, {undo}", err=True)
    return DONE


@click.command()
@FEDERATION
@click.argument("party")
@AS_JSON
def uninvite(federation: Path | None, party: str, as_json: bool) -> int:
    """Withdraw the invitation of PARTY; if it has come and was not let in, it has to go."""
    from experiments.beginning import open_begun
    from experiments.inviting import withdraw

    withdraw(open_begun(federation), PartyId(party))
    value = {"schema": "entrepot.aggregator.uninvite/1", "party": party}
    click.echo(json.dumps(value) if as_json else f"{party} is invited no longer")
    return DONE


@click.command()
@FEDERATION
@AS_JSON
def pending(federation: Path | None, as_json: bool) -> int:
    """List who is invited, and who has joined and waits, with the six words to be compared."""
    from experiments.beginning import open_begun
    from experiments.inviting import pending as listed

    rows = listed(open_begun(federation))
    if as_json:
        value = {"schema": "entrepot.aggregator.pending/1", "parties": rows}
        click.echo(json.dumps(value, ensure_ascii=False))
        return DONE
    for row in rows:
        words = " ".join(row["words"]) if row["words"] else "has not come yet"
        click.echo(f"{row['party']}: {row['organisation']} ({row['role']}, {row['jurisdiction']})")
        click.echo(f"  {words}")
    if not rows:
        click.echo("nobody is invited, nobody waits", err=True)
    return DONE


@click.command()
@FEDERATION
@click.option("--yes", is_flag=True, help="Found with everybody who has come, without asking.")
@click.option("--wait", default=0.0, help="Seconds to wait for the founders' words.")
@AS_JSON
def found(federation: Path | None, yes: bool, wait: float, as_json: bool) -> int:
    """Close the list of founders and sign it; done once every founder has signed it too.

    Exit code 12 while founders are missing; run it again, or wait. Whoever comes later is let in by
    members.
    """
    from experiments.beginning import open_begun
    from experiments.inviting import found as begin_signing
    from experiments.inviting import founders, roster_of, take_home
    from experiments.joining import show_founding

    begun = open_begun(federation)
    if roster_of(begun.hosting) is None:
        shown = founders(begun)
        show_founding(shown.members, shown.words, lambda line: click.echo(line, err=True))
        require_agreed("Is this everybody, and are the words the same?", yes)
        begin_signing(begun, shown)
    until = time.monotonic() + wait
    while (roster := take_home(open_begun(federation))) is None:
        if time.monotonic() >= until:
            missing = founders(begun).missing
            if as_json:
                value = {"schema": "entrepot.aggregator.found/1", "founded": False}
                click.echo(json.dumps(value | {"missing": list(missing)}))
            click.echo(f"waiting for the word of {', '.join(missing)}", err=True)
            return WAITING_FOR_APPROVAL
        time.sleep(LOOK)
    if as_json:
        value = {"schema": "entrepot.aggregator.found/1", "founded": True}
        click.echo(json.dumps(value | {"members": [m.party for m in roster.members]}))
    else:
        click.echo(f"{roster.federation} is founded: {len(roster.members)} members")
    return DONE
