"""In what two work orders of one kind differ, for a person who approved the first. Pure.

What differs between any two orders, such as when they were written, is left out; everything else
is compared, the recipe or the plan setting by setting.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from federation.orders import WorkOrder

_ALWAYS: Final = frozenset(
    {"version", "created", "expires", "nonce", "waits_until", "not_before", "schedule"}
)
_OPAQUE: Final = frozenset({"sealing"})
"""The key that an answer is sealed to: another one for each question."""
_PLAN: Final = "parameters.plan."
"""What a question's text was compiled to: it comes last, since people read the text."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is otherwise; of a list, what came and what went."""

    what: str
    before: str
    now: str

    def to_json(self) -> dict[str, str]:
        """Return the change as plain values."""
        return {"what": self.what, "before": self.before, "now": self.now}


def changes(before: WorkOrder, now: WorkOrder) -> tuple[Change, ...]:
    """Return everything in which `now` asks for something else than `before` did, by name."""
    old, new = _flat(before.to_json()), _flat(now.to_json())
    names = sorted(dict.fromkeys((*old, *new)), key=lambda name: name.startswith(_PLAN))
    found = (_change(name, old.get(name), new.get(name)) for name in names)
    return tuple(change for change in found if change.before != change.now)


def _change(name: str, old: Any, new: Any) -> Change:
    if isinstance(old, tuple) and isinstance(new, tuple):
        went = [item for item in old if item not in new]
        came = [item for item in new if item not in old]
        if went or came:
            return Change(name, _listed(went), _listed(came))
    return Change(name, _spelled(old), _spelled(new))


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in value.items():
        if (not prefix and name in _ALWAYS) or name in _OPAQUE:
            continue
        if isinstance(part, Mapping):
            found |= _flat(part, f"{prefix}{name}.")
        elif isinstance(part, Sequence) and not isinstance(part, str):
            found |= _listing(f"{prefix}{name}", part)
        else:
            found[f"{prefix}{name}"] = part
    return found


def _listing(name: str, part: Sequence[Any]) -> dict[str, Any]:
    if all(isinstance(item, str | int) for item in part):
        return {name: tuple(part)}
    pairs: Iterator[tuple[str, Any]] = ((f"{name}[{at}]", item) for at, item in enumerate(part))
    return _flat(dict(pairs))


def _spelled(value: Any) -> str:
    if value is None:
        return ""
    return _listed(value) if isinstance(value, tuple) else str(value)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
