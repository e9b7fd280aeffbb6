"""Disclosures of membership that wait for a person of this party, and what the person said.

    approvals/ORDER.order      the signed order that waits; the law permits it, a person has to
    approvals/ORDER.consent    the person's signed consent, and this node's word on whose key it is
    keys/approver.key          the person's own key; kept elsewhere where somebody else signs

A node discloses nothing on its own: the consents of both ends, over the whole terms, are what
`secure_compute.psi.consent.approve` makes an approval from. That a key is its person's is the
word of the node that the roster names; whom a party lets approve is the party's affair.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.errors import NodeSettingsError, RefusedWorkError
from federation.membership import Roster
from federation.orders import SignedOrder
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.signature import KEY_SIZE, SigningKey, VerifyKey
from secure_compute.psi.consent import Approval, Consent, approve
from secure_compute.psi.terms import Terms

KEY: Final = Path("keys") / "approver.key"


@dataclass(frozen=True, slots=True)
class Signed:
    """A consent with its signature, and the party's word that the key is this person's."""

    consent: Consent
    signature: bytes
    key: VerifyKey
    vouched: bytes

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            **self.consent.to_json(),
            "signature": self.signature.hex(),
            "key": self.key.hex,
            "vouched": self.vouched.hex(),
        }

    @classmethod
    def from_json(cls, value: object) -> "Signed":
        """Read what `to_json` wrote.

        Raises:
            PeerProtocolError: it is no signed consent.
        """
        match value:
            case {
                "party": str(party),
                "person": str(person),
                "legal_basis": str(basis),
                "signature": str(signature),
                "key": str(key),
                "vouched": str(vouched),
                **rest,
            } if not rest:
                try:
                    found = bytes.fromhex(signature), VerifyKey(key), bytes.fromhex(vouched)
                    return cls(Consent(party, person, basis), *found)
                except ValueError as why:
                    raise PeerProtocolError("a consent is not in hexadecimal digits") from why
        raise PeerProtocolError("what should be a person's consent is none")


def consent(
    terms: Terms, words: Consent, key: SigningKey, party: PartyId, identity: SigningKey
) -> Signed:
    """Return a person's consent to these terms, signed with the person's own key."""
    named = _voucher(terms.federation, party, words.person, key.verify_key)
    return Signed(words, key.sign(words.statement(terms)), key.verify_key, identity.sign(named))


def approval(terms: Terms, signed: Sequence[Signed], roster: Roster) -> Approval:
    """Return what the consents of both ends amount to.

    Raises:
        BadSignatureError, PeerProtocolError: see `secure_compute.psi.consent.approve`; or a party
            does not vouch for its person's key.
    """
    keys: dict[str, VerifyKey] = {}
    for one in signed:
        party = PartyId(one.consent.party)
        named = _voucher(terms.federation, party, one.consent.person, one.key)
        roster.find(party).identity.verify(one.vouched, named)
        keys[party] = one.key
    return approve(terms, [(one.consent, one.signature) for one in signed], keys)


class Approvals:
    """The waiting and the given approvals in one node's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "approvals"

    def wait(self, signed: SignedOrder) -> None:
        """Keep an order for a person to look at."""
        _write(self._folder / f"{signed.order.id}.order", signed.wire)

    def waiting(self) -> Mapping[str, bytes]:
        """Return the signed orders that nobody answered yet, by id."""
        orders = sorted(self._folder.glob("*.order")) if self._folder.exists() else []
        return {
            path.stem: path.read_bytes()
            for path in orders
            if not path.with_suffix(".consent").exists()
        }

    def give(self, order: str, signed: Signed) -> None:
        """Keep a person's consent; the first one stays."""
        path = self._folder / f"{order}.consent"
        if path.exists():
            raise RefusedWorkError(f"order {order[:12]} was approved already")
        _write(path, canonical.encode(signed.to_json()))

    def given(self, order: str) -> Signed | None:
        """Return the consent to an order, if a person of this party gave one.

        Raises:
            NodeSettingsError: the file is damaged.
        """
        path = self._folder / f"{order}.consent"
        if not path.exists():
            return None
        try:
            return Signed.from_json(json.loads(path.read_bytes()))
        except (ValueError, PeerProtocolError) as why:
            raise NodeSettingsError(f"{path.name} is damaged; delete it and approve anew") from why


def approver_key(path: Path) -> SigningKey:
    """Return the person's key at `path`; one is made where there is none.

    Raises:
        NodeSettingsError: it cannot be read or written.
    """
    try:
        if not path.exists():
            _write(path, os.urandom(KEY_SIZE))
        return SigningKey(path.read_bytes())
    except OSError as why:
        raise NodeSettingsError(f"{path} cannot be read or written: {why.strerror}") from why


def _voucher(federation: str, party: str, person: str, key: VerifyKey) -> bytes:
    return canonical.encode(
        {
            "statement": "entrepot.approver",
            "federation": federation,
            "party": party,
            "person": person,
            "key": key.hex,
        }
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, for the owner's eyes; a crash leaves the old one or the new one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
