"""The aggregator's operator invites people and turns them away, on the aggregator's own machine."""

import time
from typing import Any

from aggregator.hosting import Hosting
from aggregator.people import People, PersonInvitation
from experiments.errors import UsageError
from experiments.inviting import fresh_token
from experiments.telling import moment
from federation.errors import MalformedMessageError
from federation.invitations import Token, secret_hash
from federation.people.persons import PersonId, PersonRole, Seat
from federation.people.sessions import is_open
from policies.parties import Jurisdiction


def seat_of(person: str, organisation: str, role: str, jurisdiction: str) -> Seat:
    """Return what a person is invited to be.

    Raises:
        UsageError: nobody can be called so.
    """
    try:
        return Seat(PersonId(person), organisation, PersonRole(role), Jurisdiction(jurisdiction))
    except MalformedMessageError as why:
        raise UsageError(f"nobody can be invited so: {why}") from why


def invite(hosting: Hosting, seat: Seat, hours: float) -> Token:
    """Return a token for a person, good once; an earlier one is good for nothing any more.

    Raises:
        UsageError: nobody can come in here, or not in this role.
    """
    if hosting.join_port is None or hosting.stream_port is None:
        raise UsageError(
            "aggregator.toml names no join_port, or no stream_port with it, so there is no "
            "people's door here"
        )
    if seat.role is PersonRole.AGGREGATOR_OPERATOR and seat.organisation != hosting.organisation:
        raise UsageError(
            f"an aggregator_operator is of {hosting.organisation}, which runs the aggregator"
        )
    if hours <= 0:
        raise UsageError("invite for a while: --hours 24")
    token = fresh_token(hosting, hosting.join_port, hours)
    name, secret = token.invitation.hex(), secret_hash(token.secret)
    People(hosting.folder).invite(PersonInvitation(name, secret, seat, token.expires))
    return token


def listed(hosting: Hosting) -> list[dict[str, Any]]:
    """Return everybody who has enrolled, with how many sessions of each are open."""
    people, now = People(hosting.folder), time.time()
    rows = []
    for one in people.persons():
        found = [is_open(s, one.seat, now) for s in people.sessions(one.seat.person)]
        rows.append({**one.seat.to_json(), "disabled": one.disabled, "sessions": sum(found)})
    return rows


def disable(hosting: Hosting, person: str, *, restore: bool) -> dict[str, Any]:
    """Turn a person away at once, its sessions and its open invitation, or let it log in again.

    Raises:
        UsageError: nobody is called so.
    """
    people = People(hosting.folder)
    is_known = people.find(person) is not None or (people.is_invited(person) and not restore)
    if not is_known:
        raise UsageError(
            f"nobody called {person} has enrolled; see `entrepot aggregator people list`"
        )
    people.disable(person, not restore)
    return {"person": person, "disabled": not restore}


def token_json(token: Token, seat: Seat) -> dict[str, Any]:
    """Return what `aggregator people invite --json` prints."""
    return {
        "schema": "entrepot.aggregator.people.invite/1",
        "token": str(token),
        **seat.to_json(),
        "expires": moment(token.expires),
    }
