"""A partner joins: what it is shown, what it is asked, and what it waits for. `entrepot node join`.

The steps are `clients.joining` and `clients.entering`; here they are put in order for a person.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from clients.calling import MemberCalls, NotReachedError, stream_of
from clients.consent import agree, agreed
from clients.entering import Asks, Founds, In, Step, Waits, ask, found, step
from clients.errors import NodeSettingsError
from clients.exports import Tally, counted
from clients.joining import (
    Entrant,
    begun,
    enrol,
    enrol_again,
    finish,
    has_joined,
    keep_law,
    knock,
)
from clients.policy import load_packs, load_policy
from clients.regaining import enter, is_regaining, move_in, place_of
from clients.renewal import is_over
from experiments.errors import NotAgreedError
from experiments.founding import CAPS
from experiments.leaving import restart
from experiments.service_unit import write_unit
from experiments.telling import plain
from federation.enrolment import Offer
from federation.invitations import Token
from federation.membership import Member, Roster
from federation.views import View, read_view
from policies import card
from policies.law.bundle import bundle
from secure_compute import canonical

DAY: Final = 86400
LOOK: Final = 0.5


class Talk(Protocol):
    """Whoever sits in front of the terminal, or `--yes`."""

    def say(self, line: str) -> None:
        """Show a line."""

    def show_card(self, drawn: card.Card) -> None:
        """Show what the node will ever allow."""

    def agrees(self, question: str) -> bool:
        """Return whether the person says yes."""


@dataclass(frozen=True, slots=True)
class Came:
    """How far a party has come. why: what it waits for; "" once it is a member."""

    folder: Path
    party: str
    words: tuple[str, ...]
    why: str


def join(text: str, folder: Path | None, talk: Talk, wait: float, *, lost: bool = False) -> Came:
    """Come as far as possible with a token; run it again to go on.

    wait: seconds for which others are waited for.
    lost: the party is a member, and its identity key is lost or in other hands.

    Raises:
        MalformedInvitationError, ExpiredInvitationError, WrongPinError: nothing was sent.
        NotReachedError, TurnedAwayError: see `clients.calling`.
        NotAgreedError: the operator said no.
    """
    token = Token.parse(text)
    known = folder or _begun_here(token)
    if lost and known is not None and has_joined(known):
        known = place_of(known)
    if known is not None and has_joined(known):
        if is_over(known, time.time()):
            enrol_again(known, token, time.time())
            talk.say("the node's certificate was over; it has another")
        return _come(known, talk)
    place = known or folder
    entrant = knock(token, time.time(), lambda offer: place or Path(offer.party), known)
    _introduce(entrant.offer, talk)
    if lost:
        _lose(entrant, talk)
    keep_law(entrant, bundle(entrant.offer.party, entrant.offer.jurisdiction, CAPS))
    enrol(entrant, token, consent(entrant, talk))
    talk.say(f"the six words of this entry: {' '.join(entrant.words)}")
    talk.say("read them to the aggregator's operator and to whoever lets you in: all see the same")
    return go_on(entrant, talk, wait)


def resume(folder: Path, talk: Talk, wait: float) -> Came:
    """Go on in a folder that has enrolled: look at the founding, sign it, or wait to be let in.

    Raises:
        NodeSettingsError: nothing was begun there.
    """
    if has_joined(folder) and not is_regaining(folder):
        return _come(folder, talk)
    entrant = begun(place_of(folder) if has_joined(folder) else folder)
    if entrant is None or not (entrant.folder / "keys" / "stream.crt").exists():
        raise NodeSettingsError(f"{folder} has not enrolled; run `entrepot node join TOKEN` first")
    talk.say(f"the six words of this entry: {' '.join(entrant.words)}")
    return go_on(entrant, talk, wait)


def consent(entrant: Entrant, talk: Talk) -> str:
    """Return the digest of the card that the operator agreed to, having asked unless it has.

    Raises:
        NotAgreedError: it did not.
    """
    drawn = card_of(entrant)
    shown = drawn.to_json()
    earlier = agreed(entrant.folder, entrant.identity.verify_key)
    if earlier is not None and _same(earlier.card, entrant.folder, shown):
        return earlier.card
    talk.show_card(drawn)
    if not talk.agrees("This is what the node will ever allow. Agree, and join?"):
        raise NotAgreedError(
            f"not agreed: nothing was sent. Edit {entrant.folder / 'policy'} and run it again"
        )
    party, at = entrant.offer.party, int(time.time())
    return agree(entrant.folder, party, shown, at, entrant.identity).card


def _same(digest: str, folder: Path, shown: dict[str, object]) -> bool:
    """Whether it was the same law that was agreed to, whatever day it is."""
    text = (folder / "card.json").read_bytes()
    old = canonical.decode(text)
    laws = old.get("law") if isinstance(old, dict) else None
    return canonical.digest_bytes(text) == digest and laws == shown["law"]


def card_of(entrant: Entrant) -> card.Card:
    """Return the policy card of a node that is about to be one: it offers no table yet."""
    policy, place, now = entrant.folder / "policy", entrant.offer.jurisdiction, int(time.time())
    packs = load_packs(policy)
    count = counted(place, (), Tally(), now, known=packs)
    words = (entrant.offer.party, place, load_policy(policy), packs, ())
    return card.draw_up(*words, None if count is None else count[1], now // DAY)


def go_on(entrant: Entrant, talk: Talk, wait: float) -> Came:
    """Take every step that can be taken now, and wait so long for the others."""
    calls = MemberCalls(stream_of(entrant.folder, entrant.offer.stream))
    until, said = time.monotonic() + wait, ""
    view = _look(calls, until)
    while True:
        match step(entrant, view):
            case In(chain, roster, pin):
                is_lost = entrant.is_lost  # which moving in clears away
                return _come(_moved_in(entrant, chain, roster, pin), talk, lost=is_lost)
            case Waits(why):
                if why != said:
                    talk.say(why)
                if time.monotonic() >= until:
                    return Came(entrant.folder, entrant.offer.party, entrant.words, why)
                said = why
                time.sleep(LOOK)
                view = _look(calls, until)
            case todo:
                view = _done(entrant, todo, talk, calls)


def _done(entrant: Entrant, todo: Step, talk: Talk, calls: MemberCalls) -> View:
    if isinstance(todo, Asks):
        return read_view(ask(entrant, todo, calls))
    assert isinstance(todo, Founds)  # noqa: S101 - what is left of a step
    show_founding(todo.founding.members, todo.words, talk.say)
    if not talk.agrees("Have all founders the same words, and do you found this federation?"):
        raise NotAgreedError("not agreed: nothing was signed")
    return read_view(found(entrant, todo, calls))


def show_founding(
    members: Sequence[Member], words: Sequence[str], say: Callable[[str], None]
) -> None:
    """Show who founds, and the words that all of them compare."""
    for member in members:
        say(f"  {described(member)}")
    say(f"the six words of this founding: {' '.join(words)}")


def described(member: Member) -> str:
    """Return a member in one line."""
    organisation = plain(member.organisation)
    return f"{member.party}: {organisation} ({member.role}, {member.jurisdiction})"


def _lose(entrant: Entrant, talk: Talk) -> None:
    party = entrant.offer.party
    if not entrant.is_lost and not talk.agrees(
        f"Is the identity key of {party} lost or stolen? Once members gave it this one the old key "
        "signs nothing more. Ask them?"
    ):
        raise NotAgreedError("not agreed: nothing was sent, and the old key is as good as before")
    enter(entrant)


def _moved_in(entrant: Entrant, chain: bytes, roster: Roster, pin: str) -> Path:
    """Return the folder of the node, which has the keys that the roster names."""
    if is_regaining(entrant.folder.parent):
        home = move_in(entrant, chain, roster)
        restart(home)
        return home
    finish(entrant, chain, roster, pin)
    return entrant.folder


def _look(calls: MemberCalls, until: float) -> View:
    while True:
        try:
            return read_view(calls.look())
        except NotReachedError:
            if time.monotonic() >= until:
                raise
            time.sleep(LOOK)


def _introduce(offer: Offer, talk: Talk) -> None:
    talk.say(
        f"invited to {offer.federation} as {offer.party}: {plain(offer.organisation)} "
        f"({offer.role}, {offer.jurisdiction}); the aggregator is "
        f"{plain(offer.host.organisation)} in "
        f"{offer.host.jurisdiction}; at least {offer.threshold} keyholders open an answer, "
        f"{offer.colluding} organisations may collude with the aggregator"
    )


def _come(folder: Path, talk: Talk, *, lost: bool = False) -> Came:
    from clients.settings import load_settings

    settings = load_settings(folder)
    write_unit(folder, settings.federation, settings.party)
    if lost:
        talk.say(
            f"{settings.party} has its new identity key; it starts with the newest copy of its "
            "books alone. Copy the folder then: no older copy of it starts any more"
        )
    talk.say(f"{settings.party} is a member of {settings.federation}; start it with")
    talk.say(f"  entrepot node run {folder}")
    return Came(folder, settings.party, (), "")


def _begun_here(token: Token) -> Path | None:
    """Where an entry with this token was begun, below the folder one is in."""
    for path in sorted(Path().glob("*/offer.json")):
        entrant = begun(path.parent)
        if entrant is not None and entrant.invitation == token.invitation.hex():
            return path.parent
    return None
