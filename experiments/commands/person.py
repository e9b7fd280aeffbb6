"""`entrepot person`: enrol with a token, log in, and read at the aggregator what one may.

The folder is --folder DIR, else $ENTREPOT_PERSON, else ./.entrepot-person. Exit 10 says that the
session is over, or that no rule lets one do this.
"""

import json
from pathlib import Path
from typing import Any

import click

from experiments.commands.options import AS_JSON, EVERY, FEDERATION, START, TIMES
from experiments.commands.person_asking import ask
from experiments.commands.person_models import models
from experiments.commands.person_options import CODE, FOLDER, code_or_asked, said, shown
from experiments.commands.person_passkeys import PASSKEY, passkey, talk
from experiments.commands.person_signing import countersign, mandate, waiting
from experiments.exits import DONE


@click.group()
def command() -> None:
    """Log in at the aggregator, and read what you may."""


for _member in (ask, models, passkey, waiting, mandate, countersign):
    command.add_command(_member)


@command.command()
@click.argument("token")
@FOLDER
@AS_JSON
def enrol(token: str, folder: Path | None, as_json: bool) -> int:
    """Take the seat of TOKEN: a key is made here; the authenticator's secret is shown once."""
    import time

    from experiments.peoples_door import enrol as enrolled

    me, told = enrolled(token, folder, time.time())
    if as_json:
        click.echo(json.dumps({"schema": "entrepot.person.enrol/1", **told}))
        return DONE
    told = shown(told)
    click.echo(told["otpauth"])
    click.echo("\n".join(told["recovery"]))
    click.echo(
        f"you are {shown(me.person)}, {told['role']}; give the first line to an authenticator",
        err=True,
    )
    click.echo("and keep the six codes elsewhere; neither is shown again", err=True)
    return DONE


@command.command()
@CODE
@PASSKEY
@FOLDER
@AS_JSON
def login(code: str | None, passkey: bool, folder: Path | None, as_json: bool) -> int:
    """Begin a session: over after 15 minutes without a call, or eight hours."""
    from experiments import touching
    from experiments.peoples_door import open_me

    me = open_me(folder)
    found = touching.login(me, talk()) if passkey else me.login(code_or_asked(code))
    return said("login", found, as_json, lambda v: f"{v['person']} is logged in, {v['role']}")


@command.command()
@CODE
@PASSKEY
@FOLDER
@AS_JSON
def confirm(code: str | None, passkey: bool, folder: Path | None, as_json: bool) -> int:
    """Show a second factor again: for five minutes you may change who may do what, or sign."""
    from experiments import touching
    from experiments.peoples_door import open_me

    me = open_me(folder)
    found = touching.confirm(me, talk()) if passkey else me.confirm(code_or_asked(code))
    return said("confirm", found, as_json, lambda _: "confirmed for five minutes")


@command.command()
@FOLDER
@AS_JSON
def logout(folder: Path | None, as_json: bool) -> int:
    """End the session here."""
    from experiments.peoples_door import open_me

    return said("logout", open_me(folder).logout(), as_json, lambda v: f"ended {v['ended']}")


@command.command()
@FOLDER
@AS_JSON
def whoami(folder: Path | None, as_json: bool) -> int:
    """Say who is logged in, in which role."""
    from experiments.peoples_door import open_me

    found = open_me(folder).ask("WhoAmI")
    return said("whoami", found, as_json, _whom)


@command.command()
@click.option("--person", help="Whose; your own if not given.")
@click.option("--revoke", metavar="ID", help="End this one at once.")
@FOLDER
@AS_JSON
def sessions(person: str | None, revoke: str | None, folder: Path | None, as_json: bool) -> int:
    """List sessions, or end one; one of somebody else wants a factor shown within five minutes."""
    from experiments.peoples_door import open_me

    me = open_me(folder)
    if revoke is not None:
        found = me.ask("Revoke", id=revoke)
        return said("sessions", found, as_json, lambda v: f"ended {v['revoked']}")
    found = me.ask("Sessions") if person is None else me.ask("Sessions", person=person)
    return said("sessions", found, as_json, _sessions)


@command.command()
@click.option("--disable", metavar="PERSON", help="Turn this one away at once.")
@FOLDER
@AS_JSON
def people(disable: str | None, folder: Path | None, as_json: bool) -> int:
    """List the people that you may see, or turn one away."""
    from experiments.peoples_door import open_me

    me = open_me(folder)
    if disable is not None:
        found = me.ask("Disable", person=disable)
        return said("people", found, as_json, lambda v: f"{v['disabled']} is turned away")
    return said("people", me.ask("People"), as_json, _people)


@command.command()
@FOLDER
@AS_JSON
def roster(folder: Path | None, as_json: bool) -> int:
    """Show who is in the federation."""
    from experiments.peoples_door import open_me

    return said("roster", open_me(folder).ask("Roster"), as_json, _roster)


@command.command()
@click.argument("order", required=False)
@FOLDER
@AS_JSON
def orders(order: str | None, folder: Path | None, as_json: bool) -> int:
    """List the work orders that you may see, or show ORDER, by twelve digits of its id or more."""
    from experiments.peoples_door import open_me

    me = open_me(folder)
    if order is None:
        return said("orders", me.ask("Orders"), as_json, _orders)
    return said("orders", me.ask("Order", order=order), as_json, _order)


@command.command(context_settings={"ignore_unknown_options": False})
@click.argument("model", type=click.Choice(["demand", "fraud"]))
@click.argument("overrides", nargs=-1)
@FEDERATION
@FOLDER
@START
@EVERY
@TIMES
@AS_JSON
def propose(
    model: str,
    overrides: tuple[str, ...],
    federation: Path | None,
    folder: Path | None,
    start: str | None,
    every: str | None,
    times: int | None,
    as_json: bool,
) -> int:
    """Put a training order on the aggregator's table from here, as `entrepot train` does there.

    The data team's folder of the federation has its name, its roster and the key that signs orders;
    the aggregator's is not needed. `entrepot person orders ORDER` shows how far it is. A schedule
    is that of `entrepot train`; what is left at nodes is theirs to say, each time.
    """
    import time

    from experiments.ordering import sign
    from experiments.peoples_door import open_me, training_draft
    from experiments.schedules import read_schedule
    from experiments.scheduling import lay
    from experiments.scheduling_view import show

    home, draft, terms = training_draft(federation, model, overrides)
    schedule, me = read_schedule(start, every, times, terms, time.time()), open_me(folder)
    if schedule is not None:
        show(lay(home, draft, schedule, me.propose), as_json)
        return DONE
    found = me.ask("Propose", order=sign(home, draft).hex())
    return said("propose", found, as_json, lambda v: v["order"])


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@FOLDER
@AS_JSON
def ledger(file: Path, folder: Path | None, as_json: bool) -> int:
    """Write the aggregator's ledger to FILE; `entrepot audit verify FILE` checks it offline."""
    from experiments.peoples_door import open_me
    from secure_compute import canonical

    found = open_me(folder).ask("Ledger")
    data = canonical.encode(found["export"])
    file.write_bytes(data)
    return said("ledger", {"file": str(file), "bytes": len(data)}, as_json, lambda v: v["file"])


def _whom(value: dict[str, Any]) -> str:
    from experiments.telling import moment

    since = moment(value["session"]["begun"])
    where = f"{value['organisation']}, {value['jurisdiction']}"
    return f"{value['person']}: {value['role']} of {where}, since {since}"


def _sessions(value: dict[str, Any]) -> str:
    from experiments.telling import moment

    rows = value["sessions"]
    lines = (
        f"{r['id']}  {r['person']}  since {moment(r['begun'])}, last {moment(r['seen'])}"
        for r in rows
    )
    return "\n".join(lines)


def _people(value: dict[str, Any]) -> str:
    return "\n".join(
        f"{r['person']}: {r['organisation']} ({r['role']}, {r['jurisdiction']})"
        + (", DISABLED" if r["disabled"] else "")
        for r in value["people"]
    )


def _roster(value: dict[str, Any]) -> str:
    first = f"{value['federation']} is at epoch {value['epoch']}"
    lines = (
        f"{m['party']:<16} {m['role']:<16} {m['jurisdiction']:<6} {m['organisation']}"
        + (", SUSPENDED" if m["suspended"] else "")
        for m in value["members"]
    )
    return "\n".join((first, *lines))


def _orders(value: dict[str, Any]) -> str:
    from experiments.telling import moment

    return "\n".join(
        f"{r['order'][:12]}  {r['kind']:<5}  {r['status']:<9}  {r['purpose']}, ε = {r['epsilon']}, "
        f"{moment(r['created'])}{_when(r)}"
        for r in value["orders"]
    )


def _when(row: dict[str, Any]) -> str:
    """Return until when an order waits that is not over, and which one of a schedule it is."""
    from experiments.telling import moment

    turn = row.get("schedule")
    which = "" if turn is None else f", {turn['number']} of {turn['of']}"
    if row["status"] not in {"queued", "waiting"} or not row.get("not_before"):
        return which
    return f"{which}, begins {moment(row['not_before'])}, over {moment(row['expires'])}"


def _order(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
