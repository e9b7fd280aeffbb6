"""Entries of a log in plain words, in both languages, whatever somebody wrote into them.

The texts in an entry were chosen by other parties. Nothing in them reaches a terminal or a page
that could move a cursor, break a line, turn writing round or pass for another entry: what is not
printable is shown as an escape, and long texts are cut.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from experiments.outcome import Language, Text
from experiments.verdicts import JOINED
from experiments.words import catalogue, name_of, say, size

SHOWN: Final = 80
"""Characters of one text that are shown."""

HASH: Final = 12
"""Hexadecimal digits of a hash that are shown."""

DOOR: Final = "access"
"""What the aggregator's ledger calls a refusal at one of its doors, which is of no order."""

Body = Mapping[str, Any]


def plain(value: object, most: int = SHOWN) -> str:
    """Return one text on one line: no control, no line end, no change of direction, not too long.

    A reader can tell an escape from the same characters typed: a backslash is doubled.
    """
    spelled = "".join(map(_spelled, str(value)[: most + 1]))
    return spelled if len(spelled) <= most else spelled[: most - 1] + "…"


def _spelled(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def moment(at: int) -> str:
    """Return a time in seconds since 1970 as UTC, or the number where no calendar has it."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return str(at)


def span(seconds: int) -> str:
    """Return a span as `--every` writes it: in days, hours, or seconds where it is neither."""
    for unit, name in ((24 * 3600, "d"), (3600, "h")):
        if seconds and seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds}s"


def told(kind: str, body: Body) -> Text:
    """Return what an entry says, in both languages."""
    return Text(tell(kind, body, "en"), tell(kind, body, "zh"))


def tell(kind: str, body: Body, language: Language) -> str:
    """Return what an entry says; one that this version does not know shows its fields."""
    facts = _FACTS.get(kind)
    if facts is None or f"entry.{kind}" not in catalogue():
        return _fields(body)
    said = f"entry_door.{kind}" if _is_at_a_door(kind, body) else f"entry.{kind}"
    try:
        return say(said, language, **facts(body, language))
    except (KeyError, TypeError, ValueError):
        return _fields(body)


def _is_at_a_door(kind: str, body: Body) -> bool:
    """Return whether an entry is about a call at a door of the aggregator, and not about a node."""
    return (kind == "refused" and body.get("kind") == DOOR) or (
        kind == "approved" and bool(_countersigner(body.get("reasons", ())))
    )


def title(kind: str, language: Language) -> str:
    """Return what a kind of entry is called."""
    return name_of("entry_kind", plain(kind, 24), language)


def account_of(charge: Body) -> str:
    """Return the account of one charge: whose privacy, under which unit, in which window."""
    unit = "commercial confidentiality" if charge["unit"] == "commercial" else charge["unit"]
    return f"{plain(charge['subjects'])} ({plain(unit)}, {plain(charge['window'])})"


def _fields(body: Body) -> str:
    return " ".join(f"{plain(name, 24)}={plain(value)}" for name, value in sorted(body.items()))


def _some(values: Sequence[object], language: Language) -> str:
    return JOINED[language].join(plain(value) for value in values) or "–"


def _hash(value: object) -> str:
    return plain(str(value)[:HASH])


def _named(*names: str) -> Callable[[Body, Language], dict[str, object]]:
    return lambda body, _: {name: plain(body[name]) for name in names}


def _reserved(body: Body, language: Language) -> dict[str, object]:
    charges = body["charges"]
    return {
        "releases": max(int(charge["releases"]) for charge in charges),
        "accounts": JOINED[language].join(dict.fromkeys(map(account_of, charges))),
    }


def _word(reasons: Sequence[object], language: Language) -> str:
    """Return on whose word an approval rests, or "" where nobody was asked."""
    said = dict(str(reason).split("=", 1) for reason in reasons if "=" in str(reason))
    for name in ("standing", "consent", "mandate"):
        if name in said:
            return say(f"entry_word.{name}", language, digest=_hash(said[name]))
    return ""


def _countersigner(reasons: Sequence[object]) -> str:
    """Return for which party a person countersigned, or ""."""
    found = (str(reason).partition("=") for reason in reasons)
    return next((plain(party) for name, _, party in found if name == "countersigned"), "")


def _refused(body: Body, language: Language) -> dict[str, object]:
    cause = name_of("causes", plain(body.get("kind", "order"), 24), language)
    return {"cause": cause, "rules": _some(body["reasons"], language)}


def _crossed(body: Body, language: Language) -> dict[str, object]:
    return {
        "what": name_of("kind", plain(body["kind"]), language),
        "size": size(float(body["bytes"])),
        **{name: plain(body[name]) for name in ("recipient", "origin", "destination", "rule")},
    }


_FACTS: Final[Mapping[str, Callable[[Body, Language], dict[str, object]]]] = {
    "joined": lambda body, _: {
        "place": plain(body["jurisdiction"]),
        **{name: plain(body[name]) for name in ("party", "role")},
    },
    "left": _named("party"),
    "policy_changed": lambda body, _: {"policy": _hash(body["policy"])},
    "contract_changed": lambda body, _: {
        "digest": _hash(body["digest"]),
        **{name: plain(body[name]) for name in ("contract", "version")},
    },
    "window_opened": _named("subjects", "window", "sequence"),
    "ingested": lambda body, _: {
        "subjects": plain(body["subjects"]),
        "commitment": _hash(body["commitment"]),
    },
    "limit_set": lambda body, _: {
        "account": account_of(body),
        **{name: plain(body[name]) for name in ("epsilon", "delta", "failures")},
    },
    "proposed": _named("proposer", "contract", "purpose", "epsilon"),
    "approved": lambda body, language: {
        "policy": _hash(body["policy"]),
        "word": _word(body["reasons"], language),
        "party": _countersigner(body["reasons"]),
    },
    "refused": _refused,
    "reserved": _reserved,
    "settled": lambda body, _: {"release": _hash(body["release"])},
    "closed": _named(),
    "given_back": lambda body, _: {"count": len(body["statements"])},
    "opened": lambda body, _: {"listing": _hash(body["listing"])},
    "released": lambda body, language: {
        "recipients": _some(body["recipients"], language),
        "rule": plain(body["rule"]),
    },
    "delivered": lambda body, language: {
        "past": _hash(body["past"]),
        "recipients": _some(body["recipients"], language),
    },
    "crossed": _crossed,
    "matched": lambda body, _: {
        "step": plain(body["step"]).partition("/")[0],
        "partner": plain(body["partner"]),
        "given": _hash(body["given"]),
    },
    "disclosed": lambda body, _: {
        "approval": _hash(body["approval"]),
        **{name: plain(body[name]) for name in ("partner", "reveals", "receiver", "cap", "basis")},
    },
    "checkpoint_seen": lambda body, _: {
        "origin": plain(body["origin"]),
        "entries": plain(body["size"]),
        "root": _hash(body["root"]),
    },
    "key_rotated": _named("party"),
    "key_replaced": _named("party"),
    "roster_changed": lambda body, _: {
        "epoch": plain(body["epoch"]),
        "digest": _hash(body["digest"]),
    },
    "roster_refused": lambda body, _: {
        "digest": _hash(body["digest"]),
        **{name: plain(body[name]) for name in ("party", "reason")},
    },
}
