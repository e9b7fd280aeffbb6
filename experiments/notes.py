"""The coordinator's notes as lines that people read, in both languages."""

from typing import Any, Final

from experiments.outcome import Language
from experiments.telling import moment
from experiments.verdicts import JOINED
from experiments.words import say

STAGES: Final = frozenset(
    {
        *("offered", "round", "resumed", "evaluated", "headroom", "sealed", "repeated"),
        *("committed", "both_committed", "both_masked", "waiting", "asking"),
    }
)


def line(note: dict[str, Any], language: Language = "en") -> str:
    """Return one line of progress, or "" for what nobody needs to see."""
    if note["stage"] in {"silence", "late"}:
        return str(note["reason"])
    if note["stage"] not in STAGES:
        return ""
    declined, lost = note.get("declined"), note.get("lost")
    said = say(f"note.{'declined' if declined else _kind(note)}", language, **_facts(note))
    if note.get("named"):
        said += say("note.named", language, named=JOINED[language].join(note["named"]))
    return said + (say("note.lost", language, lost=JOINED[language].join(lost)) if lost else "")


def _kind(note: dict[str, Any]) -> str:
    return "forecast" if "wape" in note.get("metrics", {}) else str(note["stage"])


def _facts(note: dict[str, Any]) -> dict[str, object]:
    """Return what the sentences say, as far as the note says it."""
    return {
        "count": len(note.get("willing", note.get("parties", ()))),
        "declined": note.get("declined"),
        "done": note.get("round"),
        "of": note.get("of"),
        "run": str(note.get("run", ""))[:12],
        "at": moment(int(note.get("asked_at", 0))),
        "waiting": note.get("waiting"),
        "until": moment(int(note.get("until", 0))),
        "wape": _spoken(note.get("metrics", {}).get("wape", {})),
        "precision": _spoken(note.get("metrics", {}).get("average_precision", {})),
    }


def _spoken(estimate: dict[str, Any]) -> str:
    """Return a measured number with its interval, or why there is none."""
    if estimate.get("value") is None:
        return str(estimate.get("note", ""))
    value, low, high = (float(estimate[name]) for name in ("value", "low", "high"))
    return f"{value:.3f} ({low:.3f} … {high:.3f})"
