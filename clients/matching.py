"""A node's part in matching people with one partner: one step after the other, each said once.

    0 commit     either end is bound to its set of the window; with a disclosure, who approved it
    1 list       the receiver's masked people
    2 reply      both lists, masked by the sender, its dummies among them; paid for there
    3 conclude   the receiver counts or joins, and tells the sender and whoever asked
    4 hear       the sender takes what it is told; it opens a sum, and tells it
    5 take       the receiver takes the sum that it is told

A step is a function of the session's seed, of the set and of what the partner said. Both are kept
before anything is said (`clients.match_file`), and the log names them before they are used: a
process that was killed says the same bytes again, and one whose file was put back says nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from clients import match_sums
from clients.approvals import Approvals, Signed, approval
from clients.errors import RefusedWorkError
from clients.match_file import MatchFile, Session
from clients.match_results import Found, write_found
from clients.settings import NodeSettings
from clients.turns import Turns
from federation.errors import MalformedMessageError
from federation.ledger.entries import commit
from federation.matching import task_of, terms_of
from federation.membership import Roster
from federation.orders import WorkOrder
from federation.pairing import Pair, advertise
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import digest, digest_bytes
from secure_compute.entropy import Entropy
from secure_compute.primitives.agreement import KEY_SIZE, AgreementKey
from secure_compute.primitives.derivation import expand
from secure_compute.psi import session, summing, tokens
from secure_compute.psi.amounts import Amounts, amounts_place
from secure_compute.psi.consent import Approval
from secure_compute.psi.identifiers import Collected
from secure_compute.psi.masking import PIECE, Spread, all_cores, alone
from secure_compute.psi.messages import HEADER, NUMBER
from secure_compute.psi.opening import Bound, Opened, bind, open_session
from secure_compute.psi.sets import Book, Chosen, place
from secure_compute.psi.terms import Reveals, Role, Terms

SET: Final = "set"
NUMBERS: Final = "numbers"
BEGIN: Final = "begin"
_LENGTH: Final = 4


class Rows(Protocol):
    """What this node's rows bring; asked once for a window."""

    def identifiers(self, cap: int) -> Collected:
        """Return the identifiers, at most `cap`."""
        ...

    def amounts(self, identifiers: Sequence[str]) -> tuple[int, ...]:
        """Return what each of the identifiers counts with in a sum, in steps."""
        ...


class Step(IntEnum):
    """What is said next; the number is the sequence of the letters."""

    COMMIT = 0
    LIST = 1
    REPLY = 2
    CONCLUDE = 3
    HEAR = 4
    TAKE = 5


SPEAKER: Final[Mapping[Step, Role]] = {
    Step.LIST: Role.RECEIVER,
    Step.REPLY: Role.SENDER,
    Step.CONCLUDE: Role.RECEIVER,
    Step.HEAR: Role.SENDER,
    Step.TAKE: Role.RECEIVER,
}
"""Whose step it is; both commit."""

NEEDS: Final[Mapping[Step, tuple[Step, ...]]] = {
    Step.COMMIT: (),
    Step.LIST: (Step.COMMIT,),
    Step.REPLY: (Step.COMMIT, Step.LIST),
    Step.CONCLUDE: (Step.REPLY,),
    Step.HEAR: (Step.CONCLUDE,),
    Step.TAKE: (Step.HEAR,),
}
"""What the partner said before, and has to be brought along."""

RELEASES: Final = {Role.RECEIVER: Step.CONCLUDE, Role.SENDER: Step.REPLY}
"""The step of either end at which something about its people is first told, and all is charged."""


Vouched = Callable[[int | None], None]
"""Accepts an entry of the node's log that a quorum of organisations has cosigned."""


class MatchLog(Protocol):
    """What the node's log says of matches."""

    def matched(self, order: str, step: str) -> str:
        """Return the commitment to what a step is made from; "" where it was never taken."""
        ...

    def match(self, order: str, step: str, partner: str, given: str) -> None:
        """Write down that a step is about to be taken; durable."""
        ...

    def disclosed(self, order: str) -> int | None:
        """Return the number of the entry that says what an order disclosed; None for none."""
        ...

    def disclose(
        self, order: str, terms: Terms, subjects: str, partner: str, basis: str, given: str
    ) -> None:
        """Write down that members of a set are about to be disclosed; durable."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """The seed of a session where the protocol asks for chance."""

    seed: bytes

    def bytes(self, count: int) -> bytes:
        """Return the seed; nothing else is ever drawn."""
        if count != len(self.seed):
            raise ValueError(f"a session draws one seed of {len(self.seed)} bytes")
        return self.seed


@dataclass(frozen=True, slots=True)
class _Scene:
    """One session as this end sees it."""

    order: WorkOrder
    terms: Terms
    role: Role
    partner: PartyId
    session: Session

    @property
    def me(self) -> PartyId:
        return PartyId(self.terms.party(self.role))


_BOOK: Final = "book"
"""What matches take turns at: there is one book of sets, read and written as a whole."""


class Matching:
    """The sessions of one node."""

    def __init__(
        self,
        settings: NodeSettings,
        roster: Roster,
        approvals: Approvals,
        told: MatchLog,
        vouched: Vouched,
        entropy: Entropy,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._file = MatchFile(settings.folder)
        self._approvals = approvals
        self._told = told
        self._vouched = vouched
        self._entropy = entropy
        self._turns = Turns()

    def advertise(self, order: WorkOrder) -> bytes:
        """Return this node's signed key for the partner of an order: one, however often asked."""
        with self._turns.of(_BOOK):
            scene = self._scene(order, begin=True)
        key = AgreementKey(scene.session.pair)
        return advertise(order.id, scene.me, scene.partner, key, self._settings.identity)

    def say(
        self, order: WorkOrder, step: Step, key: bytes, parts: Mapping[Step, bytes], rows: Rows
    ) -> bytes:
        """Return what this end says in a step, sealed for the partner.

        key: the partner's signed key; parts: what it said before, sealed, as `NEEDS` lists.

        Raises:
            UnsureError: too few have cosigned the entry that says what would be disclosed.
            RefusedWorkError: it is not this end's turn, the step was made from something else, or
                the node's log names another state than this folder holds.
            FederationError, SecureComputeError: the partner said what the protocol does not allow.
        """
        with self._turns.of(_BOOK):
            scene = self._scene(order)
            _require_turn(scene, step, parts)
            pair = self._pair(scene, key)
            heard = {part: pair.open(part, sealed) for part, sealed in sorted(parts.items())}
            return pair.seal(step, self._said(scene, step, heard, rows))

    def size_told(self, order: WorkOrder) -> int | None:
        """Return the size with both sides' noise that this end told, if it told one."""
        said, terms = self._file.said(order.id, Step.CONCLUDE), terms_of(order)
        if said is None or terms.discloses:
            return None
        return int.from_bytes(said[1][HEADER : HEADER + NUMBER], "big", signed=True)

    def sum_told(self, order: WorkOrder) -> int | None:
        """Return the sum in steps, with both sides' noise, that this end told, if it told one."""
        said, terms = self._file.said(order.id, Step.HEAR), terms_of(order)
        if said is None or terms.reveals is not Reveals.SUM:
            return None
        return summing.told_by(terms, said[1])

    # -- steps -----------------------------------------------------------------------------------

    def _said(self, scene: _Scene, step: Step, heard: Mapping[Step, bytes], rows: Rows) -> bytes:
        order = scene.order.id
        given = digest([step.name, *(digest_bytes(words) for words in heard.values())])
        kept = self._file.said(order, step)
        if kept is not None:
            if kept[0] != given:
                raise RefusedWorkError(f"step '{step.name}' was made from something else before")
            return kept[1]
        self._require_told(order, step.name.lower(), scene.partner, given)
        message, book, result = self._made(scene, step, heard, rows)
        if result is not None:
            write_found(self._settings.folder, order, result)
        words = tuple((int(part), text) for part, text in heard.items())
        summary = "" if result is None else result.summary()
        self._file.take(order, step, given, message, book, words, summary)
        return message

    def _made(
        self, scene: _Scene, step: Step, heard: Mapping[Step, bytes], rows: Rows
    ) -> tuple[bytes, Book, Found | None]:
        match step:
            case Step.COMMIT:
                return (*self._commit(scene, rows), None)
            case Step.LIST:
                return (*self._list(scene, heard[Step.COMMIT]), None)
            case Step.REPLY:
                return (*self._reply(scene, heard[Step.COMMIT], heard[Step.LIST]), None)
            case Step.CONCLUDE:
                return self._conclude(scene, heard[Step.REPLY])
            case Step.HEAR:
                return self._hear(scene, heard[Step.CONCLUDE])
            case Step.TAKE:
                return self._take(scene, heard[Step.HEAR])

    def _commit(self, scene: _Scene, rows: Rows) -> tuple[bytes, Book]:
        chosen, book = self._chosen(scene, rows), self._file.book()
        numbers = self._amounts(scene, chosen, rows)
        book, _, message = open_session(book, scene.terms, scene.role, chosen, numbers)
        own = b""
        if scene.terms.discloses:
            own = canonical.encode(self._consent(scene).to_json())
        return len(own).to_bytes(_LENGTH, "big") + own + message, book

    def _list(self, scene: _Scene, theirs: bytes) -> tuple[bytes, Book]:
        book, bound = self._bind(scene, theirs)
        with self._spread(scene) as spread:
            if not scene.terms.discloses:
                after, _, message = session.blind(book, bound, self._chance(scene), spread)
            else:
                agreed = self._agreed(scene, theirs)
                after, _, message = tokens.blind(book, bound, agreed, self._chance(scene), spread)
        return message, after

    def _reply(self, scene: _Scene, theirs: bytes, listed: bytes) -> tuple[bytes, Book]:
        book, bound = self._bind(scene, theirs)
        chance = self._chance(scene)
        with self._spread(scene) as spread:
            if scene.terms.reveals is Reveals.SUM:
                numbers = self._counted(scene)
                return match_sums.reply(book, bound, numbers, listed, chance, spread)
            if scene.terms.reveals is Reveals.SIZE:
                after, _, message = session.reply(book, bound, listed, chance, spread)
            else:
                agreed = self._agreed(scene, theirs)
                after, _, message = tokens.reply(book, bound, agreed, listed, chance, spread)
        return message, after

    def _conclude(self, scene: _Scene, reply: bytes) -> tuple[bytes, Book, Found]:
        with self._spread(scene) as spread:
            book, bound, chance = self._file.book(), self._bound(scene), self._chance(scene)
            if scene.terms.reveals is Reveals.SUM:
                return match_sums.conclude(book, bound, chance, reply, spread)
            if scene.terms.reveals is Reveals.SIZE:
                _, blinded, _ = session.blind(Book(), bound, chance, spread)
                after, size = session.conclude(book, blinded, reply, spread)
                after, message = session.tell(after, size)
                return message, after, Found(size=size.noised)
            agreed = self._agreed(scene)
            _, listed, _ = tokens.blind(Book(), bound, agreed, chance, spread)
            if scene.terms.reveals is Reveals.INTERSECTION:
                after, common = tokens.intersect(book, listed, agreed, reply, spread)
                return b"", after, Found(common=common)
            after, found, message = tokens.join(book, listed, agreed, reply, spread)
            return message, after, Found(tokens=found)

    def _hear(self, scene: _Scene, told: bytes) -> tuple[bytes, Book, Found]:
        book, seed = self._file.book(), scene.session.seed
        if scene.terms.reveals is Reveals.SUM:
            answered = self._file.said(scene.order.id, Step.REPLY) is not None
            return match_sums.hear(book, scene.terms, seed, told, answered=answered)
        if scene.terms.reveals is Reveals.SIZE:
            state = session.Answered(terms=scene.terms, seed=seed)
            return b"", book, Found(size=session.hear(state, told))
        listed = self._file.heard(scene.order.id, Step.LIST)
        if scene.terms.reveals is Reveals.INTERSECTION or listed is None:
            raise RefusedWorkError("this end of the match is told nothing")
        agreed, bound = self._agreed(scene), self._bound(scene)
        with self._spread(scene) as spread:
            chance = self._chance(scene)
            _, replied, _ = tokens.reply(Book(), bound, agreed, listed, chance, spread)
        after, found = tokens.align(book, replied, agreed, told)
        return b"", after, Found(tokens=found)

    def _take(self, scene: _Scene, told: bytes) -> tuple[bytes, Book, Found]:
        counted = self._file.result(scene.order.id)
        seed = scene.session.seed
        return match_sums.take(self._file.book(), scene.terms, seed, counted, told)

    # -- what a step stands on -------------------------------------------------------------------

    def _scene(self, order: WorkOrder, *, begin: bool = False) -> _Scene:
        """Return the session of an order, whose seeds are those that the log names."""
        terms, task = terms_of(order), task_of(order)
        role = task.role_of(self._settings.party)
        partner = PartyId(terms.party(role.other))
        found = self._file.session(order.id)
        if found is None:
            if not begin or self._told.matched(order.id, BEGIN):
                raise RefusedWorkError(
                    "what this session began with is not in this folder any more; it was put back, "
                    "or match.sqlite was lost: let the order be written anew"
                )
            fresh = Session(self._entropy.bytes(KEY_SIZE), self._entropy.bytes(session.SEED))
            found = self._file.begin(order.id, fresh)
        self._require_told(order.id, BEGIN, partner, digest_bytes(found.pair + found.seed))
        return _Scene(order, terms, role, partner, found)

    def _chosen(self, scene: _Scene, rows: Rows) -> Chosen:
        """Return the set of this window: the first one that was chosen for it, whatever came in."""
        here = place(scene.terms, scene.me)
        found = self._file.chosen(here)
        if found is None:
            if self._told.matched("", f"{SET}/{here}"):
                raise RefusedWorkError(
                    "this node committed to a set for this window that its folder does not hold "
                    "any more; restore match.sqlite, or wait for the next window"
                )
            collected = rows.identifiers(scene.terms.cap(scene.role))
            found = self._file.choose(here, Chosen.of(collected, self._entropy))
        said = found.commitment(scene.terms, scene.role).hex()
        self._require_told("", f"{SET}/{here}", scene.partner, said)
        return found

    def _amounts(self, scene: _Scene, chosen: Chosen, rows: Rows) -> Amounts | None:
        """Return what the sender's set counts with: the first numbers that were read for it."""
        if scene.terms.reveals is not Reveals.SUM or scene.role is not Role.SENDER:
            return None
        here = amounts_place(scene.terms)
        found = self._file.amounts(here)
        if found is None:
            if self._told.matched("", f"{NUMBERS}/{here}"):
                raise RefusedWorkError(
                    "this node committed to numbers for this window that its folder does not hold "
                    "any more; restore match.sqlite, or wait for the next window"
                )
            steps = rows.amounts(chosen.identifiers)
            found = self._file.count(here, Amounts.of(steps, self._entropy))
        said = found.commitment(scene.terms).hex()
        self._require_told("", f"{NUMBERS}/{here}", scene.partner, said)
        return found

    def _counted(self, scene: _Scene) -> Amounts:
        found = self._file.amounts(amounts_place(scene.terms))
        if found is None:
            raise RefusedWorkError("this end has committed to no numbers yet")
        return found

    def _bound(self, scene: _Scene) -> Bound:
        chosen = self._file.chosen(place(scene.terms, scene.me))
        if chosen is None:
            raise RefusedWorkError("this end has committed to no set yet")
        return Bound(terms=scene.terms, role=scene.role, chosen=chosen)

    def _bind(self, scene: _Scene, theirs: bytes) -> tuple[Book, Bound]:
        bound = self._bound(scene)
        opened = Opened(terms=scene.terms, role=scene.role, chosen=bound.chosen)
        return bind(self._file.book(), opened, _cut(theirs)[1])

    def _consent(self, scene: _Scene) -> Signed:
        found = self._approvals.given(scene.order.id)
        if found is None:
            raise RefusedWorkError("nobody of this party has approved the disclosure")
        return found

    def _agreed(self, scene: _Scene, theirs: bytes = b"") -> Approval:
        """Return the approval of both ends; the log says so before anything is disclosed.

        And nothing is before a quorum has cosigned that entry: no copy of the folder forgets it.

        theirs: the partner's commitment, in which its person's consent is; kept from then on.
        """
        order = scene.order.id
        if theirs:
            mine, other = self._consent(scene).to_json(), canonical.decode(_cut(theirs)[0])
            self._file.approve(order, canonical.encode([mine, other]).decode())
        kept = self._file.session(order)
        raw = canonical.decode((kept.approval if kept else "").encode() or b"[]")
        signed = [Signed.from_json(one) for one in raw] if isinstance(raw, list) else []
        agreed = approval(scene.terms, signed, self._roster)
        if self._told.disclosed(order) is None:
            salt = expand(scene.session.seed, "entrepot.match-approval")
            given = commit(canonical.encode(agreed.entry()), salt)
            basis = scene.order.legal_basis
            subjects = self._settings.contracts()[scene.order.contract].subjects
            self._told.disclose(order, scene.terms, subjects, scene.partner, basis, given)
        self._vouched(self._told.disclosed(order))
        return agreed

    def _pair(self, scene: _Scene, key: bytes) -> Pair:
        own = AgreementKey(scene.session.pair)
        return Pair.of(scene.order.id, scene.me, scene.partner, own, key, self._roster)

    def _require_told(self, order: str, step: str, partner: str, given: str) -> None:
        """Accept what the log says of a step; it says so before anything comes of it."""
        known = self._told.matched(order, step)
        if not known:
            self._told.match(order, step, partner, given)
        elif known != given:
            raise RefusedWorkError(
                f"the log says that '{step.partition('/')[0]}' of this match was made from "
                "something else: this folder, or match.sqlite in it, was put back"
            )

    def _chance(self, scene: _Scene) -> Fixed:
        return Fixed(scene.session.seed)

    def _spread(self, scene: _Scene) -> AbstractContextManager[Spread]:
        """Return how the masking is spread: small sets are not worth processes of their own."""
        most = max(scene.terms.points, scene.terms.tags)
        return all_cores() if most > 4 * PIECE else nullcontext(alone)


def _require_turn(scene: _Scene, step: Step, parts: Mapping[Step, bytes]) -> None:
    if SPEAKER.get(step, scene.role) is not scene.role:
        raise RefusedWorkError(f"step '{step.name}' is the other end's")
    if step is Step.TAKE and scene.terms.reveals is not Reveals.SUM:
        raise RefusedWorkError("this end of the match is told nothing more")
    if tuple(sorted(parts)) != NEEDS[step]:
        raise MalformedMessageError(f"step '{step.name}' lacks what the partner said before")


def _cut(committed: bytes) -> tuple[bytes, bytes]:
    """Return the consent in a commitment, and the commitment itself."""
    end = _LENGTH + int.from_bytes(committed[:_LENGTH], "big")
    return committed[_LENGTH:end], committed[end:]
