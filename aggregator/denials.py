"""Where it is written down that somebody was refused at a door: in the log, and in the ledger.

The log has one line for each, with who it was. The ledger, which holds no person, has one entry for
each kind of refusal: which method, to whom by role, under which rule, and the digest of the rules.
A thousand refusals of a kind are one entry, so that nobody fills a ledger by knocking.
"""

import logging
import time
from pathlib import Path
from typing import Final

from aggregator.errors import AggregatorSettingsError
from aggregator.record import Record
from aggregator.settings import load_aggregator
from policies.access.deciding import Denied, access_law

_LOG: Final = logging.getLogger(__name__)


class Denials:
    """What was refused at the doors of the aggregator in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: set[tuple[str, ...]] = set()

    def tell(self, denied: Denied) -> None:
        """Write a refusal down; a ledger that cannot be written to does not make it a yes."""
        caller, rules = denied.caller, tuple(reason.id for reason in denied.reasons)
        fields = {
            "event": "access.denied",
            "method": denied.action,
            "kind": caller.kind,
            "caller": caller.id,
            "role": caller.role,
            "organisation": caller.organisation,
            "jurisdiction": caller.jurisdiction,
            "resource": type(denied.resource).__name__,
            "rules": list(rules),
        }
        who = f"{caller.kind} {caller.id or '(nobody)'} ({caller.role or 'no role'})"
        said = "%s is refused to %s: %s"
        _LOG.warning(said, denied.action, who, ", ".join(rules), extra={"fields": fields})
        kind = (denied.action, caller.kind.lower(), caller.role or "none", *rules)
        if kind not in self._told:
            self._write(kind)

    def _write(self, kind: tuple[str, ...]) -> None:
        try:
            settings = load_aggregator(self._folder)
            key, roster = settings.identity, settings.roster()
            record = Record(settings.ledger, settings.party, key, roster, time.time)
            record.turned_away(access_law().digest, kind)
            self._told.add(kind)
        except AggregatorSettingsError:
            return  # it is not founded yet: there is no ledger
        except Exception:  # noqa: BLE001  whatever is wrong with the ledger, it stays a no
            _LOG.exception("A refusal could not be written into the ledger.")
