"""Whether a plan fits the contract it reads and the cohort it asks: every node decides for itself.

Keys, bounds and domains follow from the signed contract and the plan's own condition. A node works
them out again and compares, whoever compiled the plan. No rows are read: a refusal is the same
sentence whatever the data say.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from federation.errors import OnePartyQueryError, UnsupportedQueryError
from federation.membership import Member
from federation.queries.cohort import MINIMUM_ORGANISATIONS, require_cohort
from federation.queries.expressions import Call, Column, Expression, Literal, columns, number, walk
from federation.queries.fitting_relations import fit_relations
from federation.queries.kinds import Kind, domain_of, spelled
from federation.queries.kinds import number as numeric
from federation.queries.party_names import singles_out
from federation.queries.relations import (
    Contracts,
    readable_in,
    rows_of,
    scope_before,
    titled,
    unit_of,
)
from federation.queries.scope import (
    Scope,
    kind_of,
    narrowed_by,
    require_modest,
)
from federation.queries.sensitivity import width
from federation.queries.tree import (
    Aggregate,
    Key,
    Plan,
    condition,
    inputs,
    source,
)
from federation.queries.tree import contracts as read_contracts
from federation.queries.values import value_of
from policies.contracts import DataContract
from secure_compute.threshold.params import SLOTS

MAX_NUMBERS: Final = SLOTS
"""Integers in one answer: the slots of one ciphertext."""

MAX_BINS: Final = 64
MAX_VARIABLES: Final = 8
MAX_OUTPUTS: Final = 256
MAX_KEY: Final = 1024
MAX_PARTS: Final = 2000
"""Parts of all expressions over rows together."""

ARGUMENTS: Final = {
    "count": (0, 0), "units": (0, 0), "sum": (1, 1), "avg": (1, 1), "var_pop": (1, 1),
    "var_samp": (1, 1), "stddev_pop": (1, 1), "stddev_samp": (1, 1), "covar_pop": (2, 2),
    "covar_samp": (2, 2), "corr": (2, 2), "coefficient": (2, MAX_VARIABLES + 1),
    "quantile": (1, 1), "bin": (1, 1),
}  # fmt: skip
"""How many values each aggregate takes."""


def key_of(expression: Expression, label: str, scope: Scope, clause: str) -> Key:
    """Return a grouping key with its public domain.

    Raises:
        UnsupportedQueryError: no public domain follows from the contract and from WHERE.
    """
    kind = kind_of(expression, scope)
    domain = domain_of(kind)
    if domain is None or (kind.type == "number" and not kind.whole):
        raise UnsupportedQueryError(f"{clause} needs a public domain: {_undeclared(kind)}")
    if not 1 <= len(domain) <= MAX_KEY:
        raise UnsupportedQueryError(
            f"{clause} has {len(domain)} values and a key has 1 to {MAX_KEY}: narrow it by WHERE"
        )
    return Key(expression, label, tuple(dict.fromkeys(map(spelled, domain))))


def fit(plan: Plan, contract: DataContract, cohort: Sequence[Member]) -> None:
    """Accept a plan that says what the contract allows and hides every organisation of the cohort.

    Raises:
        UnsupportedQueryError: it does not; the sentence names the clause.
    """
    fit_all(plan, {contract.name: contract}, cohort)


def fit_all(plan: Plan, contracts: Contracts, cohort: Sequence[Member]) -> None:
    """Accept a plan that says what all contracts it reads allow, by name; see `fit`.

    Raises:
        UnsupportedQueryError: it does not; the sentence names the clause.
    """
    _fit_contracts(plan, contracts)
    fit_relations(plan, contracts)
    scope = _fit_inputs(plan, contracts, cohort)
    for key in plan.child.keys:
        if key != key_of(key.expression, key.label, scope, f"GROUP BY {key.label}"):
            raise UnsupportedQueryError(
                f"the plan groups by {key.label} over another domain than the contract's: "
                "write the query anew"
            )
    for item in plan.child.aggregates:
        _fit_aggregate(item, scope, titled(source(plan)))
    _fit_outputs(plan)
    if width(plan) > MAX_NUMBERS:
        raise UnsupportedQueryError(
            f"the query asks for {width(plan)} numbers and one answer holds {MAX_NUMBERS}: "
            "drop a key or an aggregate"
        )
    require_cohort(cohort)


def _fit_contracts(plan: Plan, contracts: Contracts) -> None:
    for name, version in read_contracts(plan):
        held = [contracts[name]] if name in contracts else list(contracts.values())
        if (name, version) not in {(contract.name, contract.version) for contract in held}:
            which = ", ".join(f"{contract.name} version {contract.version}" for contract in held)
            raise UnsupportedQueryError(
                f"the plan reads contract {name} version {version} and this party holds "
                f"{which or 'none'}: agree on one version first"
            )
    bound, top = plan.child.child, source(plan)
    unit, rows = unit_of(top, contracts), rows_of(top, contracts)
    if (bound.unit, bound.rows) != (unit, rows):
        raise UnsupportedQueryError(
            f"the plan bounds {'/'.join(bound.unit)} to {bound.rows} rows and the contract says "
            f"{'/'.join(unit)} to {rows}: write the query anew"
        )


def _fit_inputs(plan: Plan, contracts: Contracts, cohort: Sequence[Member]) -> Scope:
    where, top, known = condition(plan), source(plan), scope_before(plan, contracts)
    if sum(1 for expression in inputs(plan) for _ in walk(expression)) > MAX_PARTS:
        raise UnsupportedQueryError(
            f"the query's expressions have more than {MAX_PARTS} parts: ask for less at once"
        )
    for expression in inputs(plan):
        for name in sorted(columns(expression)):
            readable_in(top, contracts, name, "the query")
        require_modest(expression, known)
        _require_no_party(expression, cohort)
    if where is not None and kind_of(where, known).type != "boolean":
        raise UnsupportedQueryError("WHERE takes a condition: compare the value with something")
    return narrowed_by(known, where)


def _require_no_party(expression: Expression, cohort: Sequence[Member]) -> None:
    if singles_out(expression, cohort):
        raise OnePartyQueryError(
            f"the query names one party, and a cell needs {MINIMUM_ORGANISATIONS} "
            "organisations that may hold it: drop that condition"
        )


def _fit_aggregate(item: Aggregate, scope: Scope, contract: str) -> None:
    least, most = ARGUMENTS[item.function]
    clause = f"{item.function.upper()} AS {item.label}"
    if not least <= len(item.values) <= most or not _has_its_parameters(item):
        raise UnsupportedQueryError(f"{clause}: the plan is malformed; write the query anew")
    if item.counted is not None:
        kind_of(item.counted, scope)
    for value in item.values:
        if value != value_of(value.expression, scope, item.function, clause, contract):
            raise UnsupportedQueryError(
                f"{clause}: the plan's bounds are not the contract's; write the query anew"
            )


def _has_its_parameters(item: Aggregate) -> bool:
    if item.counted is not None and item.function != "count":
        return False
    match item.function:
        case "quantile":
            return 2 <= item.bins <= MAX_BINS and _is_quantile(item.parameter)
        case "bin":
            return 1 <= item.bins <= MAX_BINS and _is_place(item.parameter, item.bins)
        case "coefficient":
            return item.bins == 0 and _is_place(item.parameter, len(item.values))
    return (item.parameter, item.bins) == ("", 0)


def _is_place(text: str, count: int) -> bool:
    return text in {str(place) for place in range(count)}


def _is_quantile(text: str) -> bool:
    try:
        return Decimal(0) < Decimal(text) < Decimal(1) and number(text).text == text
    except (InvalidOperation, ValueError):
        return False


def _fit_outputs(plan: Plan) -> None:
    group = plan.child
    aggregates = [item.label for item in group.aggregates]
    shown = [key.label for key in group.keys] + [item.label for item in plan.outputs]
    named_once = len({name.lower() for name in shown}) == len(shown)
    if not (named_once and plan.outputs and aggregates):
        raise UnsupportedQueryError(
            "two columns of the answer have one name, or there is no aggregate: "
            "name each aggregate once with AS"
        )
    if len(set(aggregates)) != len(aggregates) or len(aggregates) > MAX_OUTPUTS:
        raise UnsupportedQueryError(
            f"the plan has two aggregates of one name, or more than {MAX_OUTPUTS}: ask for fewer"
        )
    released: Scope = {name: numeric() for name in aggregates}
    for output in plan.outputs:
        _fit_released(output.expression, released, "number", f"{output.label} in SELECT")
    if plan.having is not None:
        _fit_released(plan.having, released, "boolean", "HAVING")


def _fit_released(expression: Expression, released: Scope, kind: str, clause: str) -> None:
    require_modest(expression, released)
    if kind_of(expression, released).type != kind:
        raise UnsupportedQueryError(
            f"{clause} takes a {kind} made of aggregates, in which every part has a name: "
            "write it anew"
        )


def _undeclared(kind: Kind) -> str:
    match kind.type:
        case "date" | "timestamp":
            return "bound the date in WHERE (day >= '2025-01-01' AND day < '2026-01-01')"
        case "number":
            return "cut it into whole buckets, as FLOOR(amount / 10), of a column with bounds"
    return "the contract declares none, so name the values in WHERE (column IN (…)) or by CASE"


def named(expression: Expression) -> str:
    """Return a short name for an expression."""
    match expression:
        case Column(name):
            return name
        case Literal(text=text):
            return text
        case Call("least" | "greatest", (Column(name), Literal())):
            return name  # a bound more or less is no other thing
        case Call(function, arguments):
            inner = [name for name in (named(part) for part in arguments) if name.isidentifier()]
            return "_".join([function, *inner])
