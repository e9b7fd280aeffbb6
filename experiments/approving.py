"""A person looks at a disclosure that waits at a node, and approves it: `entrepot node approve`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from clients.approvals import KEY, Approvals, Signed, approver_key, consent
from clients.consents import say
from clients.settings import NodeSettings, load_settings
from experiments.deciding import word_of
from experiments.errors import UsageError
from experiments.telling import moment
from federation.matching import task_of, terms_of
from federation.orders import WorkOrder, open_order
from secure_compute import canonical
from secure_compute.psi.consent import Consent

WHAT: Final = {
    "intersection": "which people are in both sets, to {receiver} alone",
    "tokens": "which people are in both sets, to {receiver} and to {sender}, with tokens for all",
}

WARNING: Final = (
    "no noise hides it and no epsilon prices it; it stands in the ledger as a disclosure, and a "
    "partner that lists identifiers it guessed learns which of them are right"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A disclosure that waits at one node."""

    settings: NodeSettings
    order: WorkOrder

    def shown(self) -> dict[str, Any]:
        """Return what the person is shown: who asks, what is told, how much, and why."""
        task = task_of(self.order)
        names = {"receiver": task.receiver, "sender": task.sender}
        return {
            "schema": "entrepot.node.approve/1",
            "order": self.order.id,
            "asks": self.order.proposer,
            "discloses": WHAT[task.mode].format(**names),
            "receiver": task.receiver,
            "sender": task.sender,
            "by": f"{task.column} ({task.identifier})",
            "caps": {"receiver": task.receiver_cap, "sender": task.sender_cap},
            "rows": self._rows(),
            "window": task.window,
            "purpose": self.order.purpose,
            "legal_basis": self.order.legal_basis,
            "expires": moment(self.order.expires),
            "priced": False,
        }

    def _rows(self) -> int:
        """Return how many rows this party holds: seen at home, by whoever may see them."""
        contract = self.settings.contracts()[self.order.contract]
        with pq.ParquetFile(self.settings.table(contract)) as file:
            return int(file.metadata.num_rows)

    def refuse(self, person: str, reason: str, key: Path | None) -> None:
        """Sign the person's no and keep it in the node's folder.

        Raises:
            RefusedWorkError: it was answered already.
            NodeSettingsError: person or reason is empty.
        """
        settings = self.settings
        word = word_of(settings, self.order.id, "no", person, reason)
        signed = say(word, approver_key(key or settings.folder / KEY), settings.identity)
        Approvals(settings.folder).answer(self.order.id, canonical.encode(signed.to_json()))

    def approve(self, person: str, basis: str, key: Path | None) -> Signed:
        """Sign the person's consent and keep it in the node's folder.

        Raises:
            RefusedWorkError: it was approved already.
            LocalProtocolError: person or legal basis is empty.
        """
        settings, terms = self.settings, terms_of(self.order)
        signing = approver_key(key or settings.folder / KEY)
        words = Consent(settings.party, person, basis)
        signed = consent(terms, words, signing, settings.party, settings.identity)
        Approvals(settings.folder).give(self.order.id, signed)
        return signed


def waiting(folder: Path, beginning: str) -> Waiting:
    """Return the one disclosure that waits at the node in `folder` and begins so.

    Raises:
        UsageError: none does, or several do.
        FederationError: what waits is not signed by an analyst of the roster.
    """
    settings = load_settings(folder)
    known = Approvals(settings.folder).waiting()
    names = [name for name in known if name.startswith(beginning)] if len(beginning) >= 8 else []
    if len(names) != 1:
        listed = ", ".join(name[:12] for name in known) or "nothing"
        raise UsageError(
            f"no one order that waits here begins with {beginning!r}; waiting: {listed}"
        )
    return Waiting(settings, open_order(known[names[0]], settings.roster()).order)


def spoken(shown: dict[str, Any]) -> str:
    """Return what a person reads before approving."""
    caps = shown["caps"]
    lines = [f"order {shown['order']}"]
    lines.append(f"{shown['asks']} asks that this be disclosed: {shown['discloses']}")
    lines.append(
        f"by {shown['by']}, up to {caps['receiver']} of {shown['receiver']} and {caps['sender']} "
        f"of {shown['sender']}; this node holds {shown['rows']} rows"
    )
    lines.append(
        f"purpose {shown['purpose']}, legal basis as the order names it: {shown['legal_basis']}; "
        f"window {shown['window']}, until {shown['expires']} UTC"
    )
    lines.append(WARNING)
    return "\n".join(lines)
