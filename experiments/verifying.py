"""Verifies an exported ledger, or one entry of it, from files alone.

Nothing of a federation is opened here: a file, the keys that somebody was given when they joined,
and the verifier. Exit codes as documented: 0 proven; 30 something is wrong; 2 no such file, or
consistent but not authentic because no keys were given.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from experiments.errors import UsageError
from experiments.exits import DONE, INTEGRITY_FAILED, USAGE
from experiments.outcome import Language, Text
from experiments.telling import plain
from experiments.words import LANGUAGES, say
from federation.errors import LedgerMismatchError, MalformedTrustError
from federation.ledger import notes
from federation.ledger.export import FORMAT as EXPORT
from federation.ledger.export import Export
from federation.ledger.receipt import FORMAT as RECEIPT
from federation.ledger.receipt import Receipt, verify_receipt
from federation.ledger.trust import Trust
from federation.ledger.verify import Verdict, verify

LONGEST: Final = 2_000
"""Characters of a verdict that are shown: texts from the file stand in it."""

FILE_LIMIT: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found: one line, its exit code, and how much was looked at."""

    code: int
    said: Text
    logs: int = 0
    entries: int = 0
    unwitnessed: int = 0
    unproven: int = 0
    raised: tuple[str, ...] = ()
    rotated: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        return {
            "schema": "entrepot.audit.verify/1",
            "code": self.code,
            "proven": self.code == DONE,
            "said": {"en": self.said.en, "zh": self.said.zh},
            "logs": self.logs,
            "entries": self.entries,
            "unwitnessed": self.unwitnessed,
            "unproven": self.unproven,
            "raised": list(self.raised),
            "rotated": list(self.rotated),
            "replaced": list(self.replaced),
        }


def verify_file(file: Path, trust: Path | None) -> Checked:
    """Return what the file proves under the keys of the file `trust`; None: without keys.

    Raises:
        UsageError: a file cannot be read, or is no export or no list of keys.
    """
    data = _read(file)
    keys = None if trust is None else _trust(trust)
    if not (_is_export(data) or RECEIPT.encode() in data):
        raise UsageError(
            f"{file} is no exported ledger; make one with `entrepot audit prove --out FILE`"
        )
    return check(data, keys)


def check(data: bytes, trust: Trust | None) -> Checked:
    """Return what the bytes of an export or of a receipt prove."""
    try:
        if _is_export(data):
            return _export(data, trust)
        return _receipt(data, trust)
    except LedgerMismatchError as why:
        reason = plain(why, LONGEST)
        wrong = Text(*(say("ledger.wrong", language, why=reason) for language in LANGUAGES))
        return Checked(INTEGRITY_FAILED, wrong)


def _is_export(data: bytes) -> bool:
    """Whether the file says that it is an export, damaged or not."""
    return EXPORT.encode() in data[:1024]


def _export(data: bytes, trust: Trust | None) -> Checked:
    export = Export.from_bytes(data)
    found = verify(export, trust)
    name = "ledger.proven" if found.is_authentic else "ledger.consistent"
    facts = {"federation": export.federation, "logs": found.logs, "entries": f"{found.entries:,}"}
    facts |= {"waiting": found.unwitnessed, "as_of": found.as_of, **_vouching(trust)}
    said = Text(*(plain(say(name, to, **facts) + _aside(found, to), LONGEST) for to in LANGUAGES))
    code = DONE if found.is_authentic else USAGE
    counted = (found.logs, found.entries, found.unwitnessed, found.unproven)
    return Checked(code, said, *counted, found.raised, found.rotated, found.replaced)


def _vouching(trust: Trust | None) -> dict[str, object]:
    """Return on whose word a proof rests: how many must have seen a log, how many of all may lie.

    Nothing without keys.
    """
    if trust is None:
        return {}
    return {
        "parties": len(trust.parties),
        "needed": trust.needed,
        "colluding": trust.colluding,
    }


def _aside(found: Verdict, language: Language) -> str:
    """Return what the entries alone cannot show."""
    said = say("ledger.alone", language) if found.logs == 1 else ""
    if found.unproven:
        said += say("ledger.unproven", language, count=found.unproven)
    if found.raised:
        first = found.raised[0]
        said += say("ledger.raised", language, count=len(found.raised), first=first)
    if found.rotated:
        first = found.rotated[0]
        said += say("ledger.rotated", language, count=len(found.rotated), first=first)
    if found.replaced:
        first = found.replaced[0]
        said += say("ledger.replaced", language, count=len(found.replaced), first=first)
    return said


def _receipt(data: bytes, trust: Trust | None) -> Checked:
    receipt = Receipt.from_bytes(data)
    found = verify_receipt(receipt, trust)
    name = "ledger.entry_proven" if found.is_authentic else "ledger.entry_consistent"
    facts = {"number": receipt.number, "origin": receipt.origin, **_vouching(trust)}
    if trust is not None:
        facts["size"] = f"{notes.read(receipt.witnessed).checkpoint.size:,}"
        facts["seen"] = len(trust.organisations(found.at, receipt.origin))
    said = Text(*(plain(say(name, language, **facts), LONGEST) for language in LANGUAGES))
    return Checked(DONE if found.is_authentic else USAGE, said, 1, 1)


def _trust(path: Path) -> Trust:
    try:
        return Trust.parse(_read(path).decode())
    except UnicodeDecodeError as why:
        raise UsageError(f"{path} is no list of keys; give the one printed at join") from why
    except MalformedTrustError as why:
        raise UsageError(f"{path}: {why}") from why


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise UsageError(f"{path} is larger than any exported ledger")
        return path.read_bytes()
    except OSError as why:
        raise UsageError(f"{path} cannot be read: {why.strerror}; name another file") from why
