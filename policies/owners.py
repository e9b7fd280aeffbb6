"""Who a rule belongs to, by its id: who could change it is whom to ask about a refusal."""

from typing import Final, Literal, TypeAlias

from policies.parties import Jurisdiction

Owner: TypeAlias = Literal["law", "federation", "node"]

FEDERATION: Final = frozenset({"BASE", "ORDER", "QUERY"})
LAW: Final = frozenset({"BORDER", *(place.value.replace("-", "") for place in Jurisdiction)})
"""The first letters of the rules of territories, and of what is on record for a border."""


def owner_of(rule: str) -> Owner:
    """Return whose rule it is; what is neither the law's nor the federation's is the node's own.

    So are LAW-000 and the like: a node fails closed by itself.
    """
    kind = rule.partition("-")[0]
    if kind in FEDERATION:
        return "federation"
    return "law" if kind in LAW else "node"
