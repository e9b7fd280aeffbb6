"""Orders that wait for a person of this party, and what the person said.

    approvals/ORDER.order      the signed order that waits; the law permits it, a person has to
    approvals/ORDER.consent    of a disclosure: the person's signed consent, and this node's word on
                               whose key it is
    approvals/ORDER.word       the person's signed yes or no to any other order, or no to a
                               disclosure (`clients.consents`)
    approvals/ORDER.signature  this party's countersignature
    approvals/standing/ID      an envelope of orders that a person agreed to in advance
    keys/approver.key          the person's own key; kept elsewhere where somebody else signs

A node discloses nothing on its own: the consents of both ends, over the whole terms, are what
`secure_compute.psi.consent.approve` makes an approval from. That a key is its person's is the
word of the node that the roster names; whom a party lets approve is the party's affair.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.errors import NodeSettingsError, RefusedWorkError
from federation import at_rest
from federation.membership import Roster
from federation.orders import SignedOrder
from federation.whole_files import replace_file
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.signature import KEY_SIZE, SigningKey, VerifyKey
from secure_compute.psi.consent import Approval, Consent, approve
from secure_compute.psi.terms import Terms

KEY: Final = Path("keys") / "approver.key"
_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


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
    named = voucher(terms.federation, party, words.person, key.verify_key)
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
        named = voucher(terms.federation, party, one.consent.person, one.key)
        roster.find(party).identity.verify(one.vouched, named)
        keys[party] = one.key
    return approve(terms, [(one.consent, one.signature) for one in signed], keys)


class Approvals:
    """The waiting and the given approvals in one node's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "approvals"

    def wait(self, signed: SignedOrder) -> None:
        """Keep an order for a person to look at."""
        path = self._path(signed.order.id, "order")
        if not path.exists() or path.read_bytes() != signed.wire:
            _write(path, signed.wire)

    def waiting(self) -> Mapping[str, bytes]:
        """Return the signed orders that nobody answered yet, by id."""
        return {
            name: wire
            for name, wire in self.kept().items()
            if not any(self._path(name, said).exists() for said in ("consent", "word"))
        }

    def kept(self) -> Mapping[str, bytes]:
        """Return the signed orders that wait for anything, by id."""
        orders = sorted(self._folder.glob("*.order")) if self._folder.exists() else []
        return {path.stem: path.read_bytes() for path in orders}

    def forget(self, order: str) -> None:
        """Nobody is asked about an order any more; what was said stays."""
        if _ID.fullmatch(order):
            self._path(order, "order").unlink(missing_ok=True)

    def answer(self, order: str, word: bytes) -> None:
        """Keep a person's signed word on an order; the first one stays."""
        if any(self._path(order, said).exists() for said in ("consent", "word")):
            raise RefusedWorkError(f"order {order[:12]} was answered already")
        _write(self._path(order, "word"), word)

    def answered(self, order: str) -> bytes | None:
        """Return a person's signed word on an order, not yet verified."""
        return _read(self._path(order, "word"))

    def countersign(self, order: str, signature: bytes) -> None:
        """Keep this party's countersignature, for the aggregator to carry to the others."""
        _write(self._path(order, "signature"), signature)

    def countersignature(self, order: str) -> bytes | None:
        """Return this party's countersignature."""
        return _read(self._path(order, "signature"))

    def stand(self, name: str, content: bytes) -> None:
        """Keep an envelope with its person's word."""
        _write(self._folder / "standing" / name, content)

    def standing(self) -> Mapping[str, bytes]:
        """Return the envelopes by id, none of them verified."""
        folder = self._folder / "standing"
        found = sorted(folder.glob("[0-9a-f]*")) if folder.exists() else []
        return {path.name: path.read_bytes() for path in found}

    def _path(self, order: str, kind: str) -> Path:
        return self._folder / f"{order}.{kind}"

    def give(self, order: str, signed: Signed) -> None:
        """Keep a person's consent; the first one stays."""
        path = self._path(order, "consent")
        if path.exists() or self._path(order, "word").exists():
            raise RefusedWorkError(f"order {order[:12]} was answered already")
        _write(path, canonical.encode(signed.to_json()))

    def given(self, order: str) -> Signed | None:
        """Return the consent to an order, if a person of this party gave one.

        Raises:
            NodeSettingsError: the file is damaged.
        """
        path = self._path(order, "consent")
        content = _read(path)
        if content is None:
            return None
        try:
            return Signed.from_json(json.loads(content))
        except (ValueError, PeerProtocolError) as why:
            raise NodeSettingsError(f"{path.name} is damaged; delete it and approve anew") from why


def approver_key(path: Path) -> SigningKey:
    """Return the person's key at `path`; one is made where there is none.

    Raises:
        NodeSettingsError: it cannot be read or written.
    """
    try:
        if not path.exists():
            _write(path, at_rest.sealed(path, os.urandom(KEY_SIZE)))
        return SigningKey(at_rest.read(path))
    except OSError as why:
        raise NodeSettingsError(f"{path} cannot be read or written: {why.strerror}") from why


def voucher(federation: str, party: str, person: str, key: VerifyKey) -> bytes:
    """Return what a party signs to say that a key is its person's."""
    return canonical.encode(
        {
            "statement": "entrepot.approver",
            "federation": federation,
            "party": party,
            "person": person,
            "key": key.hex,
        }
    )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, content, 0o600)
