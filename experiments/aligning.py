"""Two sets aligned by join tokens in one process: the protocol as it runs between two nodes.

Both ends' persons are made up here, since whoever owns both sets approves for both; nodes ask
people (`entrepot node approve`).
"""

from collections.abc import Sequence

from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.signature import KEY_SIZE, SigningKey
from secure_compute.psi import tokens
from secure_compute.psi.consent import Approval, Consent, approve
from secure_compute.psi.identifiers import Kind
from secure_compute.psi.opening import Bound, bind, open_session
from secure_compute.psi.sets import SALT, Book, Chosen
from secure_compute.psi.terms import Reveals, Role, Terms

_ENTROPY = SystemEntropy()


def exchange_tokens(
    receiver: Sequence[str], sender: Sequence[str], kind: Kind = Kind.PAN_TOKEN
) -> tuple[tokens.Tokens, tokens.Tokens]:
    """Return what either side holds afterwards.

    receiver, sender: canonical identifiers, sorted, nobody twice.
    """
    terms = Terms(
        federation="in one process",
        session=_ENTROPY.bytes(16).hex(),
        window="one",
        approval="one",
        kind=kind,
        reveals=Reveals.JOIN_TOKENS,
        receiver="receiver",
        sender="sender",
        receiver_cap=len(receiver),
        sender_cap=len(sender),
        most=1,
        dummies=None,
    )
    agreed = _approval(terms)
    (here, mine), (there, theirs) = _bound(terms, receiver, sender)
    here, listed, message = tokens.blind(here, mine, agreed, _ENTROPY)
    there, replied, reply = tokens.reply(there, theirs, agreed, message, _ENTROPY)
    here, first, told = tokens.join(here, listed, agreed, reply)
    there, second = tokens.align(there, replied, agreed, told)
    return first, second


def _bound(
    terms: Terms, receiver: Sequence[str], sender: Sequence[str]
) -> tuple[tuple[Book, Bound], tuple[Book, Bound]]:
    ends = ((Role.RECEIVER, receiver), (Role.SENDER, sender))
    opened = [
        open_session(Book(), terms, role, Chosen(tuple(texts), _ENTROPY.bytes(SALT)))
        for role, texts in ends
    ]
    (here, mine, said), (there, theirs, answered) = opened
    return bind(here, mine, answered), bind(there, theirs, said)


def _approval(terms: Terms) -> Approval:
    keys, signed = {}, []
    for party in (terms.receiver, terms.sender):
        key = SigningKey(_ENTROPY.bytes(KEY_SIZE))
        words = Consent(party, f"owner of {party}", "one's own data")
        keys[party] = key.verify_key
        signed.append((words, key.sign(words.statement(terms))))
    return approve(terms, signed, keys)
