"""A rehearsal as its operator reads it: what was asked, what came of it, what left, its price."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.rehearsing import Act, Rehearsed


def rehearsed_json(found: Rehearsed) -> dict[str, Any]:
    """Return the form that `--json` prints."""
    return {
        "schema": "entrepot.node.rehearse/1",
        "party": found.party,
        "synthetic": True,
        "works": found.works,
        "rows": dict(found.rows),
        "acts": [
            {
                "kind": act.name,
                "contract": act.contract,
                "status": act.status,
                "asked": dict(act.asked),
                "reasons": [dict(reason) for reason in act.reasons],
                "left": [
                    {"kind": one.kind, "messages": one.messages, "bytes": one.bytes}
                    for one in act.left
                ],
                "spent": [dict(one) for one in act.spent],
            }
            for act in found.acts
        ],
        "skipped": dict(found.skipped),
    }


def rehearsed_lines(found: Rehearsed) -> list[str]:
    """Return what a terminal shows."""
    tables = ", ".join(f"{name} ({rows} rows)" for name, rows in found.rows.items())
    said = [f"{found.party}, on made-up rows alone: {tables}"]
    for act in found.acts:
        said += _act(act)
    said += [f"{name}: {why}" for name, why in found.skipped.items()]
    return said


def _act(act: Act) -> list[str]:
    asked = act.asked
    parties, given = len(asked["cohort"]), ", ".join(asked["recipients"])
    said = [
        f"{act.name} over {act.contract}: {act.status}",
        *([f"  asked: {asked['sql']}"] if "sql" in asked else []),
        f"  reads {', '.join(asked['columns'])}",
        f"  for {asked['purpose']}, with {parties} parties, at least {asked['minimum']}",
        f"  the result goes to {given}",
        f"  price ε = {asked['epsilon']} at δ = {asked['delta']} for {asked['releases']} releases",
        f"  unit of privacy: {asked['unit']}",
    ]
    said += [f"  refused: {line}" for reason in act.reasons for line in _reasons(reason)]
    if any(one["id"].startswith("BUDGET") for told in act.reasons for one in _rules(told)):
        said.append(
            f"  the limit is this party's own: it stands under [limit] in contract/{act.contract}"
            ".toml, and a higher one is good from the next start on"
        )
    said += [f"  would leave: {one.messages} × {one.kind}, {one.bytes} bytes" for one in act.left]
    said += [
        f"  would spend of {one['account']}: ε {one['before']:g} → {one['epsilon']:g} of "
        f"{one['limit']:g}"
        for one in act.spent
    ]
    return said


def _reasons(told: Mapping[str, Any]) -> list[str]:
    """Return why the node refused: each rule with its law, or what it said instead."""
    rules = [
        f"{one['id']} {one['en']} ({one['law']}): {fix['en']}"
        for one, fix in zip(_rules(told), told.get("fixes", ()), strict=True)
    ]
    return rules or [str(told.get("reason", told.get("kind", "")))]


def _rules(told: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = told.get("reasons", ())
    return found
