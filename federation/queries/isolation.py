"""How many organisations may hold the cells of a plan, by what their contracts say in public.

A cell that fewer than three organisations may hold is one party's own figure, with noise that was
measured for a customer. Parties differ in a column where their contracts say that they hold other
parts of it (`Column.holds`). For every cell, each party's possible rows are made up and tried: what
it may hold of those columns, against every condition that binds them. Only a row that was found
counts as a holder, so a contradiction in a condition lends nobody to a cell. Conditions inside
aggregates are cells too, on both of their sides. Nothing here reads rows.

Not told apart: arithmetic that weighs one party's values above the others' (SUM of a square), and
the difference of two questions with different conditions.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from federation.errors import OnePartyQueryError
from federation.membership import Member
from federation.queries.cohort import MINIMUM_ORGANISATIONS
from federation.queries.expressions import (
    Call,
    Column,
    Expression,
    Literal,
    columns,
    conjuncts,
    walk,
)
from federation.queries.relations import Contracts, place_of, scope_before
from federation.queries.repeats import differs_by_party, questions
from federation.queries.scope import Scope, kind_of
from federation.queries.sources import Filter, Join, Scan, Source, Window, said
from federation.queries.tree import Aggregate, Plan, condition, contracts, inputs, source
from federation.queries.witnesses import (
    Held,
    Reach,
    Reader,
    Together,
    TooManyError,
    constants,
    held_of,
    held_of_kind,
    key_reader,
    reached,
    shared_part,
    together,
)
from policies.contracts import DataContract

__all__ = [
    "Holder",
    "OneParty",
    "differs_by_party",
    "one_party_cells",
    "questions",
    "require_shared",
]


@dataclass(frozen=True, slots=True)
class Holder:
    """One party of the cohort with the contracts it offers, as it signed them."""

    member: Member
    contracts: tuple[DataContract, ...]

    def offers(self, name: str, version: int) -> DataContract | None:
        """Return its own text of a contract; None where it does not offer it."""
        found = (item for item in self.contracts if (item.name, item.version) == (name, version))
        return next(found, None)


@dataclass(frozen=True, slots=True)
class OneParty:
    """A cell that too few may hold.

    clause:        the part of the query that makes it
    organisations: who may hold it, and so would have to approve and be charged in its commercial
                   scope; empty where that cannot be told, and the query is refused
    nearest:       what to write instead
    """

    clause: str
    organisations: frozenset[str]
    nearest: str

    @property
    def sentence(self) -> str:
        """What a refusal says."""
        count = len(self.organisations)
        who = "one organisation" if count == 1 else f"{count or 'too few'} organisations"
        return (
            f"{self.clause} is a cell that {who} may hold by the contracts' public domains, and a "
            f"cell needs {MINIMUM_ORGANISATIONS}: {self.nearest}"
        )


def require_shared(plan: Plan, agreed: Contracts, holders: Sequence[Holder]) -> None:
    """Refuse a plan with a cell that fewer than three organisations may hold.

    Raises:
        OnePartyQueryError: there is one; the sentence names clause, rule and nearest query.
    """
    for found in one_party_cells(plan, agreed, holders):
        raise OnePartyQueryError(found.sentence)


def one_party_cells(
    plan: Plan, agreed: Contracts, holders: Sequence[Holder]
) -> tuple[OneParty, ...]:
    """Return the cells of a plan that fewer than three organisations may hold, each clause once.

    agreed:  the contracts that the plan was compiled for, by name
    holders: every party that is asked
    """
    offering = [
        holder
        for holder in holders
        if all(holder.offers(name, version) for name, version in contracts(plan))
    ]
    organisations = frozenset(holder.member.organisation for holder in offering)
    if len(organisations) < MINIMUM_ORGANISATIONS:
        names = " and ".join(name for name, _ in contracts(plan))
        return (OneParty(f"FROM {names}", organisations, _offered_by_more(plan, holders)),)
    scope = scope_before(plan, agreed)
    parties = [
        _Party(holder.member.organisation, _held(plan, holder, scope)) for holder in offering
    ]
    apart = _apart(parties)
    return _Cells(plan, scope, parties, apart).found() if apart else ()


def _offered_by_more(plan: Plan, holders: Sequence[Holder]) -> str:
    """Return what to ask where too few organisations have every contract of a plan."""
    alone = [
        name
        for name, version in contracts(plan)
        if len({each.member.organisation for each in holders if each.offers(name, version)})
        >= MINIMUM_ORGANISATIONS
    ]
    nearest = f"ask of {' or of '.join(alone)} alone, or " if alone else ""
    return f"{nearest}read contracts that three organisations offer"


@dataclass(frozen=True, slots=True)
class _Party:
    organisation: str
    held: Mapping[str, Held]


def _held(plan: Plan, holder: Holder, scope: Scope) -> dict[str, Held]:
    """Return what a party may hold of every column that the plan's expressions read."""
    found: dict[str, Held] = {}
    for name in sorted(frozenset[str]().union(*map(columns, _every(plan)))):
        place = place_of(source(plan), name)
        if place is None:
            found[name] = held_of_kind(scope[name])
            continue
        leaf, column = place
        own = holder.offers(leaf.contract, leaf.version)
        if own is not None:
            found[name] = held_of(own.column(column))
    return found


def _every(plan: Plan) -> tuple[Expression, ...]:
    """Return every expression over rows, the equalities of joins among them."""
    return (*inputs(plan), *_conditions(source(plan)), *_unseen(source(plan)))


def _apart(parties: Sequence[_Party]) -> frozenset[str]:
    """Return the columns of which parties hold different parts."""
    names = parties[0].held
    return frozenset(name for name in names if len({party.held[name] for party in parties}) > 1)


def _conditions(top: Source) -> tuple[Expression, ...]:
    """Return the conditions below the plan's own that every row fulfils."""
    match top:
        case Filter(child, chosen):
            return (*_conditions(child), *conjuncts(chosen))
        case Window(child):
            return _conditions(child)
        case Join(left, right, "inner"):
            return (*_conditions(left), *_conditions(right), *_equalities(top))
        case Join(left):
            return _conditions(left)
        case Scan():
            return ()


def _equalities(join: Join) -> tuple[Expression, ...]:
    return tuple(Call("eq", (Column(first), Column(second))) for first, second in join.on)


def _unseen(top: Source) -> tuple[Expression, ...]:
    """Return expressions whose effect on a row is not tried: windows, and what LEFT JOIN reads."""
    match top:
        case Filter(child):
            return _unseen(child)
        case Window(child):
            return (*said(top), *_unseen(child))
        case Join(left, right, kind):
            own: tuple[Expression, ...] = ()
            if kind == "left":
                own = (*_conditions(right), *_equalities(top))
            return (*_unseen(left), *_unseen(right), *own)
    return ()


def _measured(item: Aggregate) -> tuple[Expression, ...]:
    counted = () if item.counted is None else (item.counted,)
    return (*counted, *(value.expression for value in item.values))


@dataclass(frozen=True, slots=True)
class _Cells:
    plan: Plan
    scope: Scope
    parties: Sequence[_Party]
    apart: frozenset[str]

    def found(self) -> tuple[OneParty, ...]:
        cells = [*self._hidden(), *self._tried("", (), self._keys()), *self._inner()]
        return tuple({cell.clause: cell for cell in reversed(cells)}.values())[::-1]

    def _keys(self) -> tuple[Reader, ...]:
        return tuple(map(key_reader, self.plan.child.keys))

    def _hidden(self) -> Iterator[OneParty]:
        for expression in _unseen(source(self.plan)):
            for name in sorted(columns(expression) & self.apart):
                clause = f"what a window or LEFT JOIN makes of {name}"
                yield OneParty(clause, frozenset(), self._nearest({name}))

    def _inner(self) -> Iterator[OneParty]:
        """Yield the cells that conditions, bins and missing values inside aggregates make."""
        for item in self.plan.child.aggregates:
            clause = f"{item.function.upper()} AS {item.label}"
            for expression in _measured(item):
                for test in self._tests(item, expression):
                    yield from self._tried(clause, (test,), self._keys())
            if item.bins:
                value = item.values[0]
                bins = tuple(map(str, range(item.bins)))
                reader = Reader("bin", value.expression, bins, value)
                yield from self._tried(clause, (), (*self._keys(), reader))

    def _tests(self, item: Aggregate, expression: Expression) -> Iterator[Expression]:
        if not columns(expression) & self.apart:
            return
        yield Call("not", (Call("is_null", (expression,)),))
        if item.counted is None:
            yield Call("ne", (expression, Literal("number", "0")))
        for node in walk(expression):
            if columns(node) & self.apart and kind_of(node, self.scope).type == "boolean":
                yield node
                yield Call("not", (Call("coalesce", (node, Literal("boolean", "false"))),))

    def _tried(
        self, clause: str, tests: tuple[Expression, ...], readers: tuple[Reader, ...]
    ) -> Iterator[OneParty]:
        where = (*_conditions(source(self.plan)), *conjuncts(condition(self.plan)), *tests)
        groups = together(where, readers, self.apart)
        if not groups:
            return
        known = constants([*_every(self.plan), *tests])
        names = frozenset().union(*(group.columns for group in groups)) & self.apart
        try:
            reach = [self._reach(group, known) for group in groups]
        except TooManyError:
            text = clause or f"what WHERE says of {', '.join(sorted(names))} and much besides"
            yield OneParty(text, frozenset(), self._nearest(names))
            return
        domains = [itertools.product(*(r.domain for r in group.readers)) for group in groups]
        for cell in itertools.product(*domains):
            few = self._few(cell, reach)
            if few is not None:
                labels = [
                    f"{reader.label} = {value}"
                    for group, values in zip(groups, cell, strict=True)
                    for reader, value in zip(group.readers, values, strict=True)
                ]
                yield OneParty(self._called(clause, labels, names), few, self._nearest(names))

    def _reach(self, group: Together, known: tuple[Literal, ...]) -> list[Reach]:
        """Return what every party reaches of a group; parties that hold the same are tried once."""
        seen: dict[tuple[tuple[str, Held], ...], Reach] = {}
        found = []
        for party in self.parties:
            held = {name: party.held[name] for name in group.columns}
            profile = tuple(sorted(held.items(), key=lambda pair: pair[0]))
            if profile not in seen:
                seen[profile] = reached(group, held, self.apart, known)
            found.append(seen[profile])
        return found

    def _few(
        self, cell: tuple[tuple[str, ...], ...], reach: Sequence[Sequence[Reach]]
    ) -> frozenset[str] | None:
        """Return the organisations that may hold a cell; None where they are enough, or none."""
        hits = [[part in of.cells for of in group] for part, group in zip(cell, reach, strict=True)]
        holding = frozenset(
            party.organisation
            for at, party in enumerate(self.parties)
            if all(hit[at] for hit in hits)
        )
        exact = [all(of.exact for of in group) for group in reach]
        empty = all(exact) or any(
            whole and not any(hit) for whole, hit in zip(exact, hits, strict=True)
        )
        if len(holding) >= MINIMUM_ORGANISATIONS or (not holding and empty):
            return None
        return holding

    def _called(self, clause: str, labels: Sequence[str], names: frozenset[str]) -> str:
        if clause:
            return f"{clause} ({', '.join(labels)})" if labels else clause
        if labels:
            return f"GROUP BY with {', '.join(labels)}"
        return f"what WHERE says of {' and '.join(sorted(names))}"

    def _nearest(self, names: Iterable[str]) -> str:
        parts = []
        for name in sorted(names):
            held = [(party.organisation, party.held[name]) for party in self.parties]
            shared = shared_part(held, MINIMUM_ORGANISATIONS)
            parts.append(f"{name} {shared}" if shared else f"no {name}")
        return f"write WHERE {' AND '.join(parts)}, or leave {' and '.join(sorted(names))} out"
