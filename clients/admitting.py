"""Who asks to be let in, as a member of the federation sees it, and this member's word for it.

Who asks may be a member whose identity key is lost: then the word is for the key in its place.

What is shown comes from the aggregator and is checked here: the entrant signed its enrolment with
the key that it would be a member with, its certificate is of the known authority and of its own
stream key, and the six words are made from all of it and from this member's own pin. So an entrant
that was shown another federation, or another key, reads other words.
"""

from dataclasses import dataclass

from clients.calling import MemberCalls, stream_of
from clients.errors import ClientError, NodeSettingsError, RefusedWorkError
from clients.settings import NodeSettings
from federation.enrolment import Enrolment, open_enrolment, words_of
from federation.membership import Member, Roster
from federation.regaining import change_of
from federation.roster_chain import Admit, Rekey, change_statement, require_successor
from federation.roster_rules import approvers, require_allowed
from federation.views import Request, Signature, read_view
from policies.parties import PartyId, Role
from secure_compute.canonical import digest_bytes
from secure_compute.primitives.authority import read_request
from secure_compute.primitives.certificates import read_client_certificate


class UntrueRequestError(ClientError):
    """A request to be let in contradicts itself; nothing is signed."""

    exit_code = 30


@dataclass(frozen=True, slots=True)
class Asked:
    """One party that asks to be let in.

    words:     to be compared with what the entrant's operator reads.
    signed:    members that have let it in, as the aggregator says; needed: organisations that must.
    change:    what this member would say; statement: what it would sign for that.
    before:    the member as the roster has it, where its identity key is lost; None: a newcomer.
    """

    enrolment: Enrolment
    words: tuple[str, ...]
    signed: tuple[PartyId, ...]
    needed: int
    change: Admit | Rekey
    statement: bytes
    before: Member | None = None

    @property
    def member(self) -> Member:
        """The party as it would stand on the roster."""
        return self.enrolment.member


def calls_of(settings: NodeSettings) -> MemberCalls:
    """Return how a node calls the aggregator.

    Raises:
        NodeSettingsError: node.toml names no stream.
    """
    if settings.stream is None:
        raise NodeSettingsError("node.toml names no stream, so this node has no call to make")
    return MemberCalls(stream_of(settings.folder, settings.stream))


def requests(settings: NodeSettings, calls: MemberCalls) -> tuple[tuple[Asked, ...], Roster]:
    """Return who asks to be let in, and the roster as it is now.

    Raises:
        UntrustedRosterError: the roster that is shown does not continue this node's own.
        UntrueRequestError: a request contradicts itself.
        NotReachedError, TurnedAwayError: see `clients.calling`.
    """
    view = read_view(calls.look())
    own = (settings.folder / "roster.bin").read_bytes()
    roster = require_successor(own, view.chain, settings.pin)
    return tuple(_asked(settings, roster, request) for request in view.requests), roster


def admit(settings: NodeSettings, asked: Asked, roster: Roster, calls: MemberCalls) -> None:
    """This member's word lets the party in.

    Raises:
        RefusedWorkError: its word would not count.
        RosterChangeError: nobody may let this party in.
        NotReachedError, TurnedAwayError: see `clients.calling`.
    """
    require_allowed(roster, asked.change)
    if settings.party not in {member.party for member in approvers(roster, asked.change)}:
        raise RefusedWorkError(
            f"the word of {settings.party} does not count for {asked.member.party}: it is "
            "suspended, or of the entrant's or the aggregator's organisation"
        )
    word = Signature(digest_bytes(asked.statement), settings.identity.sign(asked.statement))
    calls.sign(word.to_bytes())


def _asked(settings: NodeSettings, roster: Roster, request: Request) -> Asked:
    enrolment = open_enrolment(request.enrolment, settings.federation)
    ca = settings.ca.read_bytes()
    shown = read_client_certificate(request.certificate.encode(), ca)
    party = enrolment.member.party
    if (shown.party, shown.key) != (party, read_request(enrolment.request.encode(), party)):
        raise UntrueRequestError(
            f"the certificate shown for {party} is not the one that it asked for; nothing was "
            "signed, ask the aggregator why"
        )
    (host,) = roster.with_role(Role.AGGREGATOR)
    words = words_of(enrolment, request.certificate, ca.decode(), host, settings.pin)
    change = change_of(roster, enrolment.member)
    statement = change_statement(roster, change)
    before = roster.find(party) if isinstance(change, Rekey) else None
    known = {party, *(member.party for member in roster.members)}
    signed = tuple(name for name in request.signed if name in known)  # nobody signed these names
    return Asked(enrolment, words, signed, roster.colluding + 1, change, statement, before)


def in_own_name(settings: NodeSettings, calls: MemberCalls) -> tuple[Asked, ...]:
    """Return who asks for another identity key for this node, if anybody does; errors: `requests`.

    The node that runs has its key: it is not its operator who lost it, or he lost it to somebody.
    """
    return tuple(one for one in requests(settings, calls)[0] if one.member.party == settings.party)
