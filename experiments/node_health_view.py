"""`entrepot node check` as its operator reads it."""

from contextlib import suppress
from typing import Any

from clients.errors import ClientError
from clients.qualities import Quality
from clients.settings import NodeSettings
from experiments.health_line import Line
from experiments.node_health import Health
from experiments.node_membership import membership
from experiments.node_sources import sources
from federation.errors import FederationError
from policies.errors import PolicyError

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "fail"}


def health_json(settings: NodeSettings, found: Health, doubts: list[str]) -> dict[str, Any]:
    """Return the form that `--json` prints."""
    return {
        "schema": "entrepot.node.check/1",
        "party": str(settings.party),
        "role": settings.role.value,
        "jurisdiction": settings.jurisdiction.value,
        "ready": found.ready,
        "offers": list(settings.contracts()),
        "lines": [line.to_json() for line in found.lines],
        "tables": [
            {
                "contract": name,
                "rows": rules[0].rows,
                "checks": [
                    {
                        "rule": one.rule,
                        "what": one.what,
                        "broken": one.broken,
                        "state": one.state,
                        "said": one.said,
                        "fix": one.fix,
                    }
                    for one in rules
                ],
            }
            for name, rules in found.tables.items()
        ],
        "remarks": doubts,
    }


def failing(settings: NodeSettings, *, connect: bool) -> list[str]:
    """Return what fails of a node that could not start, for another reason or for this one."""
    with suppress(ClientError, FederationError, PolicyError):  # said already: the node fails by it
        lines = [membership(settings), *sources(settings, connect=connect)]
        return [_spoken(line) for line in lines if line.state == "fail"]
    return []


def health_lines(found: Health) -> list[str]:
    """Return every line; of rules that hold for all rows, how many these are."""
    said = [_spoken(line) for line in found.lines]
    for name, rules in found.tables.items():
        broken = [one for one in rules if one.state != "ok"]
        said += [_spoken(_line(name, one)) for one in broken]
        whole = len(rules) - len(broken)
        said.append(f"ok   {name}: {whole} of {len(rules)} rules hold over {rules[0].rows} rows")
    return said


def _line(contract: str, one: Quality) -> Line:
    return Line(contract, f"{one.rule} {one.what}", one.state, one.said, one.fix)


def _spoken(line: Line) -> str:
    fix = f"; {line.fix}" if line.fix else ""
    return f"{MARKS[line.state]} {line.area}: {line.name}: {line.said}{fix}"
