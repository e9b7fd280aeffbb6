"""What an entrant signs on its way in, and when it is in; one look at what there is, one step.

    view = read_view(calls.look())
    match step(entrant, view):
        case Waits(why): …              # for others
        case Founds() as shown: …       # its operator looks, then `found(entrant, shown, calls)`
        case In(chain, roster, pin): …  # `joining.finish`

Nothing that a view says is taken on trust. A founding names this party with its own key and the
aggregator that the words stand for; a chain begins with the founding that this party signed, or
whose pin went into its words; what it signs of an entry is made here, from its own keys.
"""

from dataclasses import dataclass
from typing import TypeAlias

from clients.calling import MemberCalls
from clients.errors import ClientError
from clients.joining import FOUNDING, Entrant
from federation.check_words import check_words
from federation.errors import FederationError
from federation.membership import Member, Roster
from federation.regaining import change_of
from federation.roster_chain import (
    Founding,
    Rekey,
    change_statement,
    open_roster,
    pin_of,
)
from federation.roster_changes import read_founding
from federation.roster_rules import require_founding
from federation.views import Signature, View
from federation.whole_files import keep_file
from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.errors import NotCanonicalError


class UntrueFoundingError(ClientError):
    """A founding that this party is asked to sign is not the one it was invited to."""

    exit_code = 30


class TakenSeatError(ClientError):
    """The party is a member under another identity key, and nobody said that that one is lost."""

    exit_code = 2


class OtherFederationError(ClientError):
    """The aggregator shows another federation than the one this party was invited to."""

    exit_code = 30


@dataclass(frozen=True, slots=True)
class Waits:
    """Others have to do something first; the sentence says who."""

    why: str


@dataclass(frozen=True, slots=True)
class Founds:
    """A founding that waits for this party's word. words: all founders compare them."""

    statement: bytes
    founding: Founding
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asks:
    """The party is about to ask for its entry: what it signs to prove that it has its key."""

    statement: bytes


@dataclass(frozen=True, slots=True)
class In:
    """The party is a member."""

    chain: bytes
    roster: Roster
    pin: str


Step: TypeAlias = Waits | Founds | Asks | In


def step(entrant: Entrant, view: View) -> Step:
    """Return what comes next.

    Raises:
        UntrueFoundingError: it is asked to sign a founding that is not what it was invited to.
        OtherFederationError: the roster shown is not of the federation that it was invited to.
        TakenSeatError: the party is a member under another identity key.
    """
    if view.chain:
        return _founded(entrant, view)
    if not view.founding:
        return Waits(
            f"{view.waiting} of at least {entrant.offer.colluding + 2} organisations besides the "
            "aggregator's have asked to found; its operator begins with `entrepot aggregator found`"
        )
    founding = _true(entrant, view.founding)
    signed = _signed(entrant) == view.founding and entrant.offer.party in view.signed
    if not signed:
        return Founds(view.founding, founding, founding_words(view.founding))
    missing = [m.party for m in founding.members if m.party not in view.signed]
    return Waits(f"the founding lacks the word of {', '.join(missing)}")


def founding_words(statement: bytes) -> tuple[str, ...]:
    """Return the six words of a founding: of all its members and their keys."""
    return check_words("founding", digest_bytes(statement))


def found(entrant: Entrant, shown: Founds, calls: MemberCalls) -> bytes:
    """This party's word is on the founding; return what it sees then.

    Its pin is known from here on: what it signed stands in its folder before anybody is told.
    """
    keep_file(entrant.folder / FOUNDING, shown.statement, 0o644)
    return _give(entrant, shown.statement, calls)


def ask(entrant: Entrant, shown: Asks, calls: MemberCalls) -> bytes:
    """This party's own word is on its entry; return what it sees then."""
    return _give(entrant, shown.statement, calls)


def _give(entrant: Entrant, statement: bytes, calls: MemberCalls) -> bytes:
    word = Signature(digest_bytes(statement), entrant.identity.sign(statement))
    return calls.sign(word.to_bytes())


def _founded(entrant: Entrant, view: View) -> Step:
    pin = _pin(entrant)
    try:
        roster = open_roster(view.chain, pin)
    except FederationError as why:
        raise OtherFederationError(
            f"the roster that the aggregator shows is not this party's: {why}"
        ) from why
    _require_offered(entrant, roster)
    if entrant.member in roster.members:
        return In(view.chain, roster, pin)
    change = change_of(roster, entrant.member)
    if isinstance(change, Rekey):
        _require_lost(entrant, roster)
    statement = change_statement(roster, change)
    signed = [s for r in view.requests if r.enrolment == _sent(entrant) for s in r.signed]
    if entrant.offer.party not in signed:
        return Asks(statement)
    others = [party for party in signed if party != entrant.offer.party]
    return Waits(
        f"{len(others)} of {roster.colluding + 1} members have let this party in; each reads it "
        f"the six words and runs `entrepot node admit FOLDER {entrant.offer.party}`"
    )


def _require_lost(entrant: Entrant, roster: Roster) -> None:
    party, keys = entrant.offer.party, roster.keys_of(entrant.offer.party)
    own = entrant.identity.verify_key
    if own in keys:
        raise TakenSeatError(
            f"{party} had the key of this folder and has another one since; if that one is lost, "
            "ask the aggregator for another token and join in a new folder with --lost"
        )
    if not entrant.is_lost:
        raise TakenSeatError(
            f"{party} is a member already, under the key {keys[-1].hex[:16]}…; join in the folder "
            "that has that key, or, if it is lost or stolen, run this again with --lost"
        )


def _require_offered(entrant: Entrant, roster: Roster) -> None:
    offer = entrant.offer
    if roster.federation != offer.federation or roster.colluding < offer.colluding:
        raise OtherFederationError(
            f"the roster is of {roster.federation} and bears {roster.colluding} colluding "
            f"organisations; the invitation said {offer.federation} and {offer.colluding}: nothing "
            "was signed, ask the aggregator why"
        )


def _pin(entrant: Entrant) -> str:
    statement = _signed(entrant)
    if not (statement or entrant.offer.pin):
        raise OtherFederationError(
            "the federation was founded without this party; run `entrepot node join` with the same "
            "token again, to ask its members to let it in"
        )
    return entrant.offer.pin or pin_of(statement)


def _signed(entrant: Entrant) -> bytes:
    path = entrant.folder / FOUNDING
    return path.read_bytes() if path.exists() else b""


def _sent(entrant: Entrant) -> bytes:
    return (entrant.folder / "enrolment.bin").read_bytes()


def _true(entrant: Entrant, statement: bytes) -> Founding:
    try:
        founding = read_founding(canonical.decode(statement))
        require_founding(founding)
    except (FederationError, NotCanonicalError) as why:
        raise UntrueFoundingError(f"the founding is none: {why}; nothing was signed") from why
    _require_mine(entrant, founding)
    return founding


def _require_mine(entrant: Entrant, founding: Founding) -> None:
    offer = entrant.offer
    wanted: tuple[Member, ...] = (entrant.member, offer.host)
    missing = [member.party for member in wanted if member not in founding.members]
    if missing or founding.federation != offer.federation:
        raise UntrueFoundingError(
            f"the founding names {' and '.join(missing) or 'the federation'} otherwise than this "
            "party was told when it was invited; nothing was signed, ask the aggregator why"
        )
    if founding.colluding < offer.colluding:
        raise UntrueFoundingError(
            f"the founding bears {founding.colluding} colluding organisations and the invitation "
            f"said {offer.colluding}; nothing was signed"
        )
