"""What must be signed before anybody learns who is in both sets: by a person at each end.

Telling which people are in both sets is a disclosure of membership. No ε prices it: it is approved
by name, with a legal basis, for one session, and stands in the ledger as what it is. Claims of
differential privacy made on top of aligned rows hold given that the alignment is known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives.signature import VerifyKey
from secure_compute.psi.terms import VERSION, Reveals, Terms

Sign: TypeAlias = Callable[[bytes], bytes]
T = TypeVar("T")

MAX_TEXT: Final = 500


class _Minted(type):
    """Metaclass: instances come from `cls._mint(...)` in this module, nowhere else.

    It stops mistakes, not attackers, as `policies.evidence` does, which is not imported here.
    """

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse: an approval is not made by whoever wishes for it."""
        raise TypeError(f"{cls.__name__} is minted from signed consents, not constructed")

    def _mint(cls: type[T], *args: Any, **kwargs: Any) -> T:
        return type.__call__(cls, *args, **kwargs)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Consent:
    """One person's yes, for one party, to one disclosure; signed with the person's own key.

    person:      who answers for it, as the ledger will name them.
    legal_basis: in the person's words, 1 to 500 characters.
    """

    party: str
    person: str
    legal_basis: str

    def __post_init__(self) -> None:
        texts = (self.party, self.person, self.legal_basis)
        if not all(text.strip() and len(text) <= MAX_TEXT for text in texts):
            raise LocalProtocolError(
                "a consent names party, person and legal basis, each in 1 to 500 characters"
            )

    def statement(self, terms: Terms) -> bytes:
        """Return what the person signs."""
        return canonical.encode(
            {
                "statement": "entrepot.psi-consent",
                "v": VERSION,
                "terms": terms.to_json(),
                "discloses": terms.reveals.value,
                **self.to_json(),
            }
        )

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {"party": self.party, "person": self.person, "legal_basis": self.legal_basis}


@dataclass(frozen=True, slots=True)
class Approval(metaclass=_Minted):
    """Both ends approved the disclosure of these terms. Only `approve` makes one."""

    terms: Terms
    consents: tuple[Consent, ...]

    def entry(self) -> dict[str, JSON]:
        """Return what the ledger says: a disclosure, to whom, why, and that no ε holds for it."""
        return {
            "entry": "psi-disclosure",
            "v": VERSION,
            "terms": self.terms.to_json(),
            "digest": self.terms.digest,
            "priced": False,
            "consents": [consent.to_json() for consent in self.consents],
        }


def approve(
    terms: Terms,
    consents: Sequence[tuple[Consent, bytes]],
    keys: Mapping[str, VerifyKey],
) -> Approval:
    """Return the approval that these signed consents amount to.

    consents: with their signatures, one of each end. keys: party → the key of the person that this
    side knows to answer for it.

    Raises:
        BadSignatureError: a consent is not signed by that person, or was for other terms.
        PeerProtocolError: an end is missing or speaks twice, its person is unknown, or one person
            speaks for both.
        LocalProtocolError: the session discloses nobody, and is priced instead.
    """
    if terms.reveals is Reveals.SIZE:
        raise LocalProtocolError("a noised size is paid for from the account, not approved here")
    ends = sorted((terms.receiver, terms.sender))
    if sorted(consent.party for consent, _ in consents) != ends:
        raise PeerProtocolError(
            f"a person of {ends[0]} and one of {ends[1]} must approve, once each"
        )
    known = [keys[end].hex for end in ends if end in keys]
    persons = {consent.person for consent, _ in consents}
    if len(known) != 2 or len({*known}) != 2 or len(persons) != 2:
        raise PeerProtocolError(
            "two persons with keys of their own must approve, both of them known"
        )
    for consent, signature in consents:
        keys[consent.party].verify(signature, consent.statement(terms))
    found = sorted((consent for consent, _ in consents), key=lambda consent: consent.party)
    return Approval._mint(terms, tuple(found))  # noqa: SLF001


def require_approval(approval: Approval, terms: Terms) -> None:
    """Return if the approval is for these terms.

    Raises:
        LocalProtocolError: it is for others, or it is no approval.
    """
    if type(approval) is not Approval or approval.terms.digest != terms.digest:
        raise LocalProtocolError("the approval is for another session, or for other terms")
