"""An input party's side: `(state, what it is told) → (state', what it sends)`.

    submit ─ encrypt the noised cells, commit to the ciphertexts
    endorse ─ sign the one list of all commitments
    reveal ─ against a quorum's signatures on that list, the ciphertexts may leave

**Write state' to disk before anything is sent.** A query gets one commitment and one signature, and
a key serves one query, across restarts. The ciphertexts are kept beside the state until the query
is over: they cannot be made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from secure_compute.errors import LocalProtocolError, PeerProtocolError, RefusedRequestError
from secure_compute.secagg.epoch import Roster
from secure_compute.threshold import ciphertext, scheme
from secure_compute.threshold.joint import JointKey
from secure_compute.threshold.listing import Commitment, Endorsement, Listing, certify, listing
from secure_compute.threshold.question import Question
from secure_compute.threshold.statements import Sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a party promised for one query. endorsed: the list it signed or revealed for, or ""."""

    query: str
    key: str
    commitment: Commitment
    endorsed: str = ""
    revealed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """What an input party keeps; `answers` only grows, one for each query."""

    me: str
    answers: tuple[Answered, ...] = ()

    def answer(self, query: str) -> Answered:
        """Return what was promised for a query.

        Raises:
            PeerProtocolError: nothing was.
        """
        for answer in self.answers:
            if answer.query == query:
                return answer
        raise PeerProtocolError("nothing was submitted for this query")


def submit(
    party: Party,
    roster: Roster,
    question: Question,
    joint: JointKey,
    values: Sequence[int],
    sign: Sign,
) -> tuple[Party, Commitment, tuple[bytes, ...]]:
    """Encrypt `values`, the cells with their noise in them, and commit to the ciphertexts.

    roster: whose members this side verified.
    joint: added up here, by `joint.assemble`; whatever the question says its key is, is compared.

    Raises:
        RosterError, PeerProtocolError: the question is of another cohort, roster or key.
        RefusedRequestError: the query was answered, or the key served another one.
        LocalProtocolError: a value is beyond the bound, or sums could wrap or not be hidden.
    """
    question.require_joint(roster, joint)
    question.find(party.me)
    if question.query in {answer.query for answer in party.answers}:
        raise RefusedRequestError("this query was answered: another list of it would be another")
    if question.key in {answer.key for answer in party.answers}:
        raise RefusedRequestError("this key served a query: a key is used once, take a fresh one")
    made = tuple(
        ciphertext.to_bytes(scheme.encrypt(rows, joint.public, joint.uniform))
        for rows in question.layout.spread(values)
    )
    hashes = _digests(made, question, party.me)
    said = Commitment(question=question.digest, party=party.me, chunks=hashes).signed(sign)
    promise = Answered(query=question.query, key=question.key, commitment=said)
    return replace(party, answers=(*party.answers, promise)), said, made


def endorse(
    party: Party, question: Question, commitments: Sequence[Commitment], sign: Sign
) -> tuple[Party, Endorsement]:
    """Sign the list of all commitments; the same list again gets the same signature.

    Raises:
        as `listing` does, and
        RefusedRequestError: our commitment is not in it as we made it, or another list was signed.
    """
    answer = _ours(party, question)
    made = listing(question, commitments)
    _require_on(answer, made)
    said = Endorsement(question=question.digest, party=party.me, listing=made.digest).signed(sign)
    return _with(party, replace(answer, endorsed=made.digest)), said


def reveal(
    party: Party,
    question: Question,
    commitments: Sequence[Commitment],
    endorsements: Sequence[Endorsement],
    made: Sequence[bytes],
) -> tuple[Party, tuple[bytes, ...]]:
    """Return the ciphertexts, which may leave now: the list they are on can be the only one.

    It is the quorum's signatures that say so, and not ours: who was away when the list was signed
    reveals as well, and signs no other list afterwards.

    made: what `submit` returned.

    Raises:
        as `certify` does, and
        RefusedRequestError: another list was signed here, or our commitment is not on this one.
        LocalProtocolError: these are not the ciphertexts that we committed to.
    """
    answer = _ours(party, question)
    listed = listing(question, commitments)
    _require_on(answer, listed)
    certify(listed, endorsements)
    if _digests(made, question, party.me) != answer.commitment.chunks:
        raise LocalProtocolError("these are not the ciphertexts that were committed to")
    shown = replace(answer, endorsed=listed.digest, revealed=True)
    return _with(party, shown), tuple(made)


def _ours(party: Party, question: Question) -> Answered:
    answer = party.answer(question.query)
    if answer.commitment.question != question.digest:
        raise RefusedRequestError("something was submitted for this query, asked differently")
    return answer


def _require_on(answer: Answered, listed: Listing) -> None:
    """Accept a list that holds what we committed to, if we know of no other list."""
    if answer.commitment not in listed.commitments:
        raise RefusedRequestError("the list holds another ciphertext of ours, or none")
    if answer.endorsed not in {"", listed.digest}:
        raise RefusedRequestError("another list of this query was signed here: there is only one")


def _digests(made: Sequence[bytes], question: Question, me: str) -> tuple[str, ...]:
    return tuple(
        ciphertext.digest(wire, question.digest, me, chunk) for chunk, wire in enumerate(made)
    )


def _with(party: Party, answer: Answered) -> Party:
    answers = tuple(answer if old.query == answer.query else old for old in party.answers)
    return replace(party, answers=answers)
