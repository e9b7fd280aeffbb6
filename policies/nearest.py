"""The nearest request that would pass: the reasons' own settings, applied and asked again."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from policies.budget.events import spell
from policies.budget.outlay import Outlay
from policies.engine import Law, Reason, Request, objections

PRICE: Final = "privacy.epsilon"
_TRIES: Final = 4

Change = Callable[[Request, str], Request]
_CHANGES: Final[Mapping[str, Change]] = {
    PRICE: lambda request, value: replace(request, epsilon=value),
    "privacy.delta": lambda request, value: replace(request, delta=value),
    "privacy": lambda request, _: replace(request, private=True),
    "purpose": lambda request, value: replace(request, purpose=value),
    "legal_basis": lambda request, value: replace(request, legal_basis=value),
    "cohort.minimum": lambda request, value: replace(request, minimum_cohort=int(value)),
}


def nearest(
    request: Request,
    law: Law,
    affordable: Sequence[str] = (),
    outlay: Outlay | None = None,
    beside: Sequence[Request] = (),
) -> tuple[str, ...]:
    """Return the settings under which `law` permits `request`, sorted; none where nothing helps.

    affordable: settings that the accounts ask for, such as `privacy.epsilon=0.4`.
    outlay: what the order states and may spend; None where these are the same. The law is asked
        about the latter, and an order is written by the former.
    beside: what else the law is asked about the same order; the settings must pass there too.

    A setting is taken only from what refuses, and the changed request is put to the law again: what
    is returned was tried.
    """
    chosen = _merged({}, affordable)
    for _ in range(_TRIES):
        asked = [apply(each, _spent(chosen, outlay)) for each in (request, *beside)]
        reasons = [*dict.fromkeys(itertools.chain.from_iterable(objections(asked, law)))]
        if not reasons:
            return tuple(sorted(f"{name}={value}" for name, value in chosen.items()))
        wanted = _wanted([restated(reason, outlay) for reason in reasons])
        changed = _merged(chosen, wanted)
        if len(wanted) < len(reasons) or changed == chosen:
            return ()
        chosen = changed
    return ()


def restated(reason: Reason, outlay: Outlay | None) -> Reason:
    """Return the reason with the ε that an order states in place of the most that it may spend."""
    name, _, most = (reason.override or "").partition("=")
    if name != PRICE or outlay is None or not outlay.spare:
        return reason
    stated = outlay.stating(float(most))
    if not stated:
        return replace(reason, override=None)
    return replace(
        reason,
        fix_en=f"lower {PRICE} to {stated:.2f}; with {outlay.spare} rounds that may come to "
        f"nothing that is at most {most}",
        fix_zh=f"请将 {PRICE} 降至 {stated:.2f};连同可能作废的 {outlay.spare} 轮,最多为 {most}",
        override=f"{PRICE}={stated:.2f}",
    )


def apply(request: Request, settings: Mapping[str, str]) -> Request:
    """Return the request with these settings."""
    for name, value in settings.items():
        request = _CHANGES[name](request, value)
    return request


def _spent(chosen: Mapping[str, str], outlay: Outlay | None) -> Mapping[str, str]:
    """Return the settings with what may be spent in place of what an order would state."""
    if outlay is None or PRICE not in chosen:
        return chosen
    most = outlay.most_at(float(chosen[PRICE]))
    return chosen if most is None else {**chosen, PRICE: spell(Decimal(repr(most)))}


def _wanted(reasons: Sequence[Reason]) -> list[str]:
    """Return one setting of each reason that has one which a request can take on."""
    found = [reason.override or "" for reason in reasons]
    return [setting for setting in found if setting.partition("=")[0] in _CHANGES]


def _merged(chosen: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str]:
    """Return the settings together: the lowest price of all, else the last word."""
    merged = dict(chosen)
    for setting in wanted:
        name, _, value = setting.partition("=")
        if name == PRICE and name in merged:
            value = min(merged[name], value, key=Decimal)
        merged[name] = value
    return merged
