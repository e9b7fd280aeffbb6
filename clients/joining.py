"""How a folder becomes a node's, step by step; every step that was done stays done.

    offer.json     what the invitation is good for     policy/      the law it will hold to
    keys/          made here, 0600, never sent         consent.bin  what its operator agreed to
    enrolment.bin  what was sent, once and for all     keys/stream.crt, keys/ca.crt
    roster.bin, trust.txt, and last of all node.toml: from then on it is a node

Cut off anywhere, the same steps are run again: files are whole or not there, keys that are there
are kept, and the same enrolment is sent again, to which the aggregator gives the same answer.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import tomli_w

from clients.calling import JoinCalls, require_pin
from clients.errors import NodeSettingsError
from federation import at_rest
from federation.enrolment import (
    Enrolment,
    Offer,
    open_enrolment,
    read_offer,
    sign_enrolment,
    words_of,
)
from federation.invitations import Token
from federation.knocks import Knock
from federation.ledger.trust import Trust
from federation.membership import Member, Roster
from federation.whole_files import keep_file
from secure_compute import canonical
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.authority import request_certificate
from secure_compute.primitives.certificates import read_client_certificate, require_issued
from secure_compute.primitives.hpke import PRIVATE_SIZE, OpeningKey
from secure_compute.primitives.node_keys import create_node_key
from secure_compute.primitives.signature import KEY_SIZE, SigningKey

FOUNDING: Final = "founding.bin"
"""The founding that this party signed, where it is a founder."""

LOST: Final = "key-is-lost"
"""There once the operator said that the identity key of a member is lost; see `regaining`."""


class ForeignFolderError(NodeSettingsError):
    """The folder belongs to another invitation or node."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Entrant:
    """A folder that is about to be a node's."""

    folder: Path
    offer: Offer
    invitation: str

    @property
    def identity(self) -> SigningKey:
        """The key that it will sign its words with; made when it is first asked for."""
        path = self.folder / "keys" / "identity.key"
        if not path.exists():
            at_rest.write(path, os.urandom(KEY_SIZE))
        return SigningKey(at_rest.read(path))

    @property
    def opening(self) -> OpeningKey:
        """The key that opens what is sent to it; made when it is first asked for."""
        path = self.folder / "keys" / "opening.key"
        if not path.exists():
            at_rest.write(path, os.urandom(PRIVATE_SIZE))
        return OpeningKey(at_rest.read(path))

    @property
    def is_lost(self) -> bool:
        """Whether it enters in the place of a member's key that is lost."""
        return (self.folder / LOST).exists()

    @property
    def member(self) -> Member:
        """The party as it will stand on the roster."""
        offer, own = self.offer, (self.identity.verify_key, self.opening.sealing_key)
        return Member(offer.party, offer.organisation, offer.role, offer.jurisdiction, *own)

    @property
    def enrolment(self) -> Enrolment:
        """What was, or is about to be, sent.

        Raises:
            NodeSettingsError: nothing was agreed to yet.
        """
        path = self.folder / "enrolment.bin"
        if not path.exists():
            raise NodeSettingsError(f"{self.folder} has not enrolled; run `entrepot node join`")
        return open_enrolment(path.read_bytes(), self.offer.federation)

    @property
    def words(self) -> tuple[str, ...]:
        """The six words of this entry, once it has a certificate."""
        shown = (self.folder / "keys" / "stream.crt").read_text(encoding="ascii")
        host = self.offer.host
        return words_of(self.enrolment, shown, self.offer.authority, host, self.offer.pin)


def has_joined(folder: Path) -> bool:
    """Return whether the folder is a node's already."""
    return (folder / "node.toml").exists()


def begun(folder: Path) -> Entrant | None:
    """Return the entry that was begun in `folder`, if one was.

    Raises:
        NodeSettingsError: its file is damaged.
    """
    path = folder / "offer.json"
    if not path.exists():
        return None
    match canonical.decode(path.read_bytes()):
        case {"invitation": str(invitation), "offer": str(offer)}:
            return Entrant(folder.resolve(), read_offer(offer.encode()), invitation)
    raise NodeSettingsError(f"{path} is damaged; remove it and join again")


def knock(token: Token, now: float, folder: Callable[[Offer], Path], known: Path | None) -> Entrant:
    """Return the entry that a token is good for, having asked the server that it names.

    folder: where the node shall lie; known: the same where it is known before the offer.

    Raises:
        ExpiredInvitationError, WrongPinError, NotReachedError: nothing was sent.
        TurnedAwayError: the invitation is used, withdrawn or of another federation; nothing of
            this party was sent, since nothing of it was made.
        ForeignFolderError: the folder was begun with another invitation.
    """
    name = token.invitation.hex()
    earlier = begun(known) if known is not None else None
    if earlier is not None and earlier.invitation != name:
        raise _foreign(earlier.folder)
    if earlier is None:
        token.require_open(now)
    leaf = require_pin(token)
    identity = "" if earlier is None else _identity_of(earlier)
    data = JoinCalls(token, leaf).offer(Knock(name, token.secret, identity))
    offer = read_offer(data)
    require_issued(leaf, offer.authority.encode())
    place = folder(offer)
    there = begun(place)
    if there is not None and there.invitation != name:
        raise _foreign(place)
    if there is None or (offer.pin and not there.offer.pin and not _has_signed(there)):
        _keep_offer(place, name, data)  # the second: it is to be let in to what was founded since
        return Entrant(place.resolve(), offer, name)
    return there


def _identity_of(entrant: Entrant) -> str:
    has_enrolled = (entrant.folder / "enrolment.bin").exists()
    return entrant.identity.verify_key.hex if has_enrolled else ""


def _has_signed(entrant: Entrant) -> bool:
    return (entrant.folder / FOUNDING).exists()


def _foreign(folder: Path) -> ForeignFolderError:
    if has_joined(folder):
        return ForeignFolderError(
            f"{folder} is a node already: keep it. If the token is for its next certificate, or, "
            f"with --lost, for another identity key, name it with --folder {folder}; else name "
            "another --folder"
        )
    return ForeignFolderError(
        f"{folder} was begun with another invitation; name another --folder, or remove it"
    )


def _keep_offer(folder: Path, invitation: str, offer: bytes) -> None:
    if has_joined(folder):
        raise ForeignFolderError(f"{folder} is a node already; name another --folder")
    value = {"invitation": invitation, "offer": offer.decode()}
    keep_file(folder / "offer.json", canonical.encode(value))


def keep_law(entrant: Entrant, texts: Mapping[str, str]) -> None:
    """The node's law stands in its folder; what its operator wrote there stays."""
    for part in ("data", "contract"):
        (entrant.folder / part).mkdir(parents=True, exist_ok=True)
    policy, draft = entrant.folder / "policy", entrant.folder / ".policy.draft"
    if policy.exists():
        return
    for name, text in texts.items():
        keep_file(draft / name, text.encode(), 0o644)
    draft.rename(policy)  # the whole law or none of it


def enrol(entrant: Entrant, token: Token, card: str) -> None:
    """The aggregator knows the entrant's public keys, and the entrant has a certificate.

    card: digest of the card that was agreed to; the first one that was sent stays.

    Raises:
        WrongPinError, NotReachedError, TurnedAwayError: see `clients.calling`.
        LocalProtocolError: what came back is not the certificate that was asked for.
    """
    folder, path = entrant.folder, entrant.folder / "enrolment.bin"
    if not path.exists():
        keep_file(path, sign_enrolment(_filled(entrant, card), entrant.identity))
    if (folder / "keys" / "stream.crt").exists():
        return
    wire, leaf = path.read_bytes(), require_pin(token)
    identity = entrant.identity.verify_key.hex
    sent = Knock(entrant.invitation, token.secret, identity, wire)
    pem = JoinCalls(token, leaf).enrol(sent)
    require_own(entrant.offer, pem, folder / "keys" / "stream.key")
    keep_file(folder / "keys" / "ca.crt", entrant.offer.authority.encode(), 0o644)
    keep_file(folder / "keys" / "stream.crt", pem, 0o644)


def enrol_again(folder: Path, token: Token, now: float) -> None:
    """A member whose certificate is over has another, for the stream key that it has.

    Raises:
        ForeignFolderError: the invitation is for another party, or from another federation.
        ExpiredInvitationError, WrongPinError, NotReachedError, TurnedAwayError: see `knock`.
        LocalProtocolError: what came back is not the certificate that was asked for.
    """
    entrant = begun(folder)
    if entrant is None:
        raise ForeignFolderError(f"{folder} did not join by a token, so it cannot do so again")
    token.require_open(now)
    leaf, name = require_pin(token), token.invitation.hex()
    identity = entrant.identity.verify_key.hex
    calls = JoinCalls(token, leaf)
    offer = read_offer(calls.offer(Knock(name, token.secret, identity)))
    if replace(offer, pin="") != replace(entrant.offer, pin=""):
        raise ForeignFolderError("the token is for another seat than this node's; nothing was sent")
    again = replace(_filled(entrant, entrant.enrolment.card), invitation=name)
    wire = sign_enrolment(again, entrant.identity)
    pem = calls.enrol(Knock(name, token.secret, identity, wire))
    require_own(entrant.offer, pem, folder / "keys" / "stream.key")
    keep_file(folder / "keys" / "stream.crt", pem, 0o644)


def _filled(entrant: Entrant, card: str) -> Enrolment:
    keys = entrant.folder / "keys"
    return Enrolment(
        federation=entrant.offer.federation,
        invitation=entrant.invitation,
        member=entrant.member,
        request=request_certificate(
            keys / "stream.key", entrant.offer.party, at_rest.FILES
        ).decode(),
        flower=create_node_key(keys / "flower", at_rest.FILES).decode(),
        card=card,
    )


def require_own(offer: Offer, pem: bytes, key: Path) -> None:
    """Return if a certificate names this party and has the public half of its key.

    Raises:
        LocalProtocolError: it does not.
    """
    from secure_compute.primitives.node_keys import create_stream_key

    shown = read_client_certificate(pem, offer.authority.encode())
    if (shown.party, shown.key) != (offer.party, create_stream_key(key, at_rest.FILES)):
        raise LocalProtocolError(
            f"what the aggregator gave is not a certificate of {offer.party} for the key that was "
            "made here; ask it for another invitation"
        )


def finish(entrant: Entrant, chain: bytes, roster: Roster, pin: str) -> None:
    """The folder is a node's: it has the roster, the keys of all ledgers, and its settings.

    pin: of the founding that this party signed, or was told and has compared words for.
    """
    folder, offer = entrant.folder, entrant.offer
    keep_file(folder / "roster.bin", chain, 0o644)
    keep_file(folder / "trust.txt", str(Trust.of(roster)).encode(), 0o644)
    settings = {
        "party": str(offer.party),
        "organisation": offer.organisation,
        "role": offer.role.value,
        "jurisdiction": offer.jurisdiction.value,
        "federation": offer.federation,
        "pin": pin,
        "colluding": roster.colluding,
        "aggregator": {
            "party": str(offer.host.party),
            "address": offer.fleet,
            "stream": offer.stream,
            "ca": "keys/ca.crt",
        },
        "keys": {"threshold": offer.threshold},
    }
    keep_file(folder / "node.toml", tomli_w.dumps(settings).encode(), 0o644)
