"""The aggregator's operator invites, looks who came, and lets the founders found."""

import os
import time
from dataclasses import dataclass
from typing import Any, Final

from aggregator.gathering import Gathering
from aggregator.hosting import Hosting
from aggregator.register import Invitation, Register
from clients.entering import founding_words
from experiments.beginning import Begun, write_home
from experiments.errors import UsageError
from experiments.founding import Seat
from experiments.telling import moment
from federation.enrolment import words_of
from federation.errors import FederationError
from federation.invitations import ID_SIZE, SECRET_SIZE, Token, secret_hash
from federation.ledger.trust import Trust
from federation.membership import Member, Roster
from federation.regaining import waits
from federation.roster_chain import founding_statement, open_roster
from federation.roster_changes import read_founding
from federation.roster_rules import are_one_name, likeness, require_founding
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.primitives.authority import key_pin

HOURS: Final = 72
_MISSPELT: Final = 0.85  # names that are as alike as that may be one, misspelt
ROLES: Final = (*DATA_ROLES, Role.KEYHOLDER)


def invite(begun: Begun, seat: Seat, hours: float = HOURS) -> Token:
    """Return a token for a seat; earlier ones for it are good for nothing any more.

    Raises:
        UsageError: nobody can join here, or the seat is taken.
    """
    hosting = begun.hosting
    if hosting.join_port is None:
        raise UsageError("aggregator.toml names no join_port, so nobody can be invited")
    if seat.role not in ROLES or hours <= 0:
        raise UsageError("invite a warehouse, payment_partner, merchant or keyholder, for a while")
    _require_free(hosting, seat)
    _require_spelt(hosting, seat)
    gathering(begun).hold(seat.party)
    token = fresh_token(hosting, hosting.join_port, hours)
    name, secret = token.invitation.hex(), secret_hash(token.secret)
    words = (seat.party, seat.organisation, seat.role, seat.jurisdiction, token.expires)
    Register(hosting.folder).invite(Invitation(name, secret, *words))
    return token


def fresh_token(hosting: Hosting, port: int, hours: float) -> Token:
    """Return a token of nobody yet, for the door at `port` of this aggregator, good for `hours`."""
    return Token(
        hosting.address,
        port,
        key_pin(hosting.places.certificate.read_bytes()),
        os.urandom(ID_SIZE),
        os.urandom(SECRET_SIZE),
        int(time.time() + hours * 3600),
    )


def _require_free(hosting: Hosting, seat: Seat) -> None:
    roster = roster_of(hosting)
    known = () if roster is None else (*roster.members, *roster.former)
    taken = {member.party for member in known} | {hosting.party, PartyId("analyst")}
    if seat.party in taken and not _comes_again(roster, seat):
        raise UsageError(
            f"{seat.party} is or was a member; invite under another name, or, if its certificate "
            "is over or its key is lost, with the organisation, role and jurisdiction that it is "
            "known by"
        )
    name, organisation = seat.party, seat.organisation
    plain = name.replace("-", "").replace("_", "")
    if not (plain.isascii() and plain.isalnum() and name[0].isalnum() and len(name) <= 64):
        raise UsageError("a party's name is letters, digits and dashes, at most 64")
    if not (organisation.strip() and organisation.isprintable() and len(organisation) <= 200):
        raise UsageError("name the organisation that the party is of, as it spells itself")


def _require_spelt(hosting: Hosting, seat: Seat) -> None:
    """Accept an organisation that is spelt as before: found out later, it would stop a founding."""
    for party, known in _organisations(hosting, seat.party):
        if known != seat.organisation and are_one_name(known, seat.organisation):
            raise UsageError(
                f"{seat.organisation!r} is spelt {known!r} for {party}; an organisation "
                "counts once, so spell it the same, or withdraw that invitation"
            )


def looks_like(begun: Begun, seat: Seat) -> dict[str, PartyId]:
    """Return organisations that count as others than the seat's and may be it, and one's party."""
    return {
        known: party
        for party, known in _organisations(begun.hosting, seat.party)
        if known != seat.organisation and likeness(known, seat.organisation) >= _MISSPELT
    }


def _organisations(hosting: Hosting, but: PartyId) -> list[tuple[PartyId, str]]:
    """Return of which organisation every other party is that is in or invited."""
    roster = roster_of(hosting)
    members = () if roster is None else roster.members
    invited = Register(hosting.folder).invited()
    spelt = [
        *((member.party, member.organisation) for member in members),
        *((invitation.party, invitation.organisation) for invitation in invited),
    ]
    return [(party, organisation) for party, organisation in spelt if party != but]


def withdraw(begun: Begun, party: PartyId) -> None:
    """Nobody comes in by the invitation of this seat, nor does whoever took it and was not let in.

    Nor does who asks for another identity key of a member.

    Raises:
        UsageError: nobody is invited under this name, or it is a member's.
    """
    roster = roster_of(begun.hosting)
    is_in = roster is not None and party in {member.party for member in roster.members}
    if is_in and party not in _asking(begun, roster):
        raise UsageError(f"{party} is a member; suspend it with `entrepot aggregator revoke`")
    if not Register(begun.hosting.folder).withdraw(party):
        raise UsageError(f"nobody is invited as {party}; `aggregator pending` says who is")


def _comes_again(roster: Roster | None, seat: Seat) -> bool:
    """Whether the seat is a member's, word for word: its certificate is over, it gets another."""
    if roster is None or seat.role not in ROLES:
        return False
    return any(
        (m.party, m.organisation, m.role, m.jurisdiction)
        == (seat.party, seat.organisation, seat.role, seat.jurisdiction)
        for m in roster.members
    )


def roster_of(hosting: Hosting) -> Roster | None:
    """Return the roster as the aggregator has it; None before the founding."""
    if not hosting.pin:
        return None
    return open_roster((hosting.folder / "roster.bin").read_bytes(), hosting.pin)


def pending(begun: Begun) -> list[dict[str, Any]]:
    """Return who is invited or asks to be let in, with the six words to be compared."""
    hosting = begun.hosting
    roster = roster_of(hosting)
    known = set() if roster is None else {m.party for m in (*roster.members, *roster.former)}
    known -= _asking(begun, roster)
    came = {one.party: (enrolment, one) for enrolment, one in gathering(begun).founders()}
    rows = []
    for invitation in Register(hosting.folder).invited():
        if invitation.party in known:
            continue
        row: dict[str, Any] = {
            "party": invitation.party,
            "organisation": invitation.organisation,
            "role": invitation.role.value,
            "jurisdiction": invitation.jurisdiction.value,
            "expires": moment(invitation.expires),
            "words": None,
        }
        if (found := came.get(invitation.party)) is not None:
            enrolment, one = found
            ca = hosting.authority.certificate.decode()
            own = hosting.member
            row["words"] = list(words_of(enrolment, one.certificate, ca, own, hosting.pin))
        rows.append(row)
    return rows


def _asking(begun: Begun, roster: Roster | None) -> set[PartyId]:
    """Return the members in whose seats somebody waits for another identity key."""
    if roster is None:
        return set()
    members = {member.party for member in roster.members}
    came = (enrolment.member for enrolment, _ in gathering(begun).founders())
    return {one.party for one in came if one.party in members and waits(roster, one)}


def gathering(begun: Begun) -> Gathering:
    """Return the membership of the aggregator's folder."""
    return Gathering(begun.hosting.folder, time.time)


@dataclass(frozen=True, slots=True)
class Founders:
    """A founding that is about to be signed, or is being signed."""

    statement: bytes
    members: tuple[Member, ...]
    words: tuple[str, ...]
    signed: tuple[PartyId, ...]

    @property
    def missing(self) -> tuple[PartyId, ...]:
        """Who has not signed yet."""
        return tuple(m.party for m in self.members if m.party not in self.signed)


def founders(begun: Begun) -> Founders:
    """Return the founding that everybody who came would make, in one order whoever asks.

    Raises:
        UsageError: too few have come.
    """
    came = [enrolment.member for enrolment, _ in gathering(begun).founders()]
    members = (*came, begun.hosting.member, begun.analyst)
    hosting = begun.hosting
    statement = founding_statement(hosting.federation, members, hosting.colluding)
    try:
        require_founding(read_founding(canonical.decode(statement)))
    except FederationError as why:
        raise UsageError(f"it cannot be founded yet: {why}") from why
    signed = tuple(Register(hosting.folder).signatures(digest_bytes(statement)))
    return Founders(statement, members, founding_words(statement), signed)


def found(begun: Begun, shown: Founders) -> None:
    """Everybody who came is asked to sign; the aggregator and the data team have done so."""
    hosting, register = begun.hosting, Register(begun.hosting.folder)
    register.propose(shown.statement)
    keys = {hosting.party: hosting.identity, begun.analyst.party: begun.analyst_key}
    for party, key in keys.items():
        register.sign(digest_bytes(shown.statement), party, key.sign(shown.statement))
    gathering(begun).complete()


def take_home(begun: Begun) -> Roster | None:
    """Return the roster, once the federation is founded; the data team's folder has it then."""
    roster = roster_of(begun.hosting)
    if roster is None:
        return None
    chain = (begun.hosting.folder / "roster.bin").read_bytes()
    write_home(begun, begun.hosting.pin, chain, str(Trust.of(roster)))
    return roster


def token_json(token: Token, seat: Seat) -> dict[str, Any]:
    """Return what `aggregator invite --json` prints."""
    return {
        "schema": "entrepot.aggregator.invite/1",
        "token": str(token),
        "party": seat.party,
        "role": seat.role.value,
        "jurisdiction": seat.jurisdiction.value,
        "organisation": seat.organisation,
        "invitation": token.invitation.hex(),
        "expires": moment(token.expires),
    }
