"""Whether a node's law permits an order: total, with reasons, and closed when in doubt.

Cedar evaluates; this module makes sure that nothing but a clean "allow" opens the gate. Texts are
validated against the schema when they are loaded; a request that does not fit the schema, a rule
that errs, and an engine that fails all refuse, by name. Every matching `forbid` is reported at
once, sorted, with its law, its text and the nearest request that would pass.

Limits with a memory are not decided here: the account comes first, on the node.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, Final, Literal, TypeAlias

import cedarpy

from policies.contracts import UnitKind
from policies.errors import MalformedLawError
from policies.evidence import Minted
from policies.parties import Grade, Jurisdiction, PartyId, Role, territory
from policies.transfers import leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who wants to compute what, where and why: attributes that the node computed itself.

    units:   every unit of the contract that the run pays in, `unit` first.
    epsilon: of everything that may leave, releases of rounds that come to nothing among them.
    epsilon, delta: decimal texts, exact; the engine rounds them up.
    grouped, filtered, aggregated: grades of the columns that are used so, in the clear.
    masked:  grades of the columns that serve as keys only, under a mask; joined: of those by which
             tables are joined.
    recipients: jurisdictions that will know the result.
    keyholder:  jurisdiction of the key that opens the answer; None where nothing is decrypted.
    today:      the day by the witnessed time, in days since 1970-01-01.
    exported_persons: people whose data left this calendar year, with this order's; None where a
                contract does not say how many stand in its table.
    cohort:     organisations named in the order; minimum_cohort: fewest that must take part.
    discloses:  whether it tells who is in both sets: no epsilon prices that, people approve it.
    approved:   whether a person of this party said yes to it, or to all within an envelope.
    countersigned: whether a member of another organisation than the proposer's signed it too.
    """

    action: Literal["train", "query", "match"]
    proposer: PartyId
    proposer_role: Role
    purpose: str
    legal_basis: str
    node: PartyId
    role: Role
    jurisdiction: Jurisdiction
    dataset: str
    unit: UnitKind
    units: frozenset[UnitKind]
    epsilon: str
    delta: str
    grouped: frozenset[Grade]
    filtered: frozenset[Grade]
    aggregated: frozenset[Grade]
    masked: frozenset[Grade]
    joined: frozenset[Grade]
    recipients: frozenset[Jurisdiction]
    aggregator: Jurisdiction
    keyholder: Jurisdiction | None
    today: int
    exported_persons: int | None
    cohort: int
    minimum_cohort: int
    code_matches: bool
    expired: bool
    private: bool
    discloses: bool = False
    approved: bool = False
    countersigned: bool = False

    @property
    def personal(self) -> bool:
        """Whether a person or a person's order is among the units; commercial units are nobody."""
        return bool({self.unit, *self.units} - {"commercial"})

    @property
    def leaves(self) -> bool:
        """Whether the result, the sums under way or the opening key are outside the node's land."""
        return leaves(self.jurisdiction, self.recipients, self.aggregator, self.keyholder)


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that refused, in two languages, with the nearest request that would pass.

    override: such as `privacy.epsilon=0.5`; None where no setting of the proposer is enough.
    """

    id: str
    law: str
    text_en: str
    text_zh: str
    fix_en: str
    fix_zh: str
    override: str | None


@dataclass(frozen=True, slots=True)
class Permit(metaclass=Minted):
    """The law of `request.node`, whose texts have the SHA-256 `law`, permits `request`."""

    request: Request
    law: str


@dataclass(frozen=True, slots=True)
class Deny:
    """The request is refused for every one of `reasons`, sorted by id; there is at least one.

    beside: what else was asked about the same order: of other contracts, of other places.
    """

    request: Request
    reasons: tuple[Reason, ...]
    law: str
    beside: tuple[Request, ...] = ()


Decision: TypeAlias = Permit | Deny


@dataclass(frozen=True, slots=True)
class Law:
    """Policy texts that parse, fit their schema and carry their reasons; `digest` names them.

    told: what the schema lets rules ask of people's words; a schema of before knows none of them.
    """

    digest: str
    reasons: Mapping[str, Reason]
    told: frozenset[str]
    policies: cedarpy.PolicySet = field(repr=False, compare=False)
    schema: cedarpy.Schema = field(repr=False, compare=False)
    entities: cedarpy.Entities = field(repr=False, compare=False)


def load_law(policy_texts: Sequence[str], schema_text: str) -> Law:
    """Parse and validate a node's policy once; the result is reused for every decision.

    Raises:
        MalformedLawError: a text does not parse, does not fit the schema, or a rule lacks its id,
            law, texts or fix.
    """
    text = "\n".join(policy_texts)
    try:
        schema = cedarpy.Schema.from_str(schema_text)
        policies = cedarpy.PolicySet.from_str(text)
        rules = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
        verdict = cedarpy.validate_policies(text, schema)
    except (ValueError, KeyError) as why:
        raise MalformedLawError(f"the policy does not parse: {_first_line(why)}") from why
    if not verdict.validation_passed:
        raise MalformedLawError(
            f"the policy does not fit its schema: {_first_line(verdict.errors[0].error)}"
        )
    reasons = _reasons(rules)
    parts = [*policy_texts, schema_text]
    digest = hashlib.sha256(b"".join(hashlib.sha256(part.encode()).digest() for part in parts))
    told = frozenset(name for name in _WORDS if re.search(rf"\b{name}\s*:", schema_text))
    entities = cedarpy.Entities.from_json_str("[]")
    return Law(digest.hexdigest(), reasons, told, policies, schema, entities)


def decide(request: Request, law: Law) -> Decision:
    """Return what the law says: forbid beats permit, silence refuses, a broken rule refuses."""
    try:
        result = cedarpy.is_authorized(
            _question(request, law.told),
            law.policies,
            law.entities,
            law.schema,
        )
        reasons = _objections(result, law)
    except Exception as failure:  # noqa: BLE001  closed, whatever broke
        return Deny(request, (_broken(type(failure).__name__),), law.digest)
    if reasons:
        return Deny(request, reasons, law.digest)
    return Permit._mint(request, law.digest)  # noqa: SLF001  the home of this evidence


def deciding(request: Request, law: Law) -> tuple[str, ...]:
    """Return the ids of the rules that decide `request`, sorted: what permits, or all that forbid.

    For explanations: no permit comes of it. Empty where no rule could decide.
    """
    try:
        result = cedarpy.is_authorized(
            _question(request, law.told), law.policies, law.entities, law.schema
        )
    except Exception:  # noqa: BLE001  `decide` refuses such a request; here it has no rule
        return ()
    named = result.diagnostics.id_annotations_by_reason
    return tuple(sorted(named.get(policy, policy) for policy in result.diagnostics.reasons))


def objections(requests: Sequence[Request], law: Law) -> tuple[tuple[Reason, ...], ...]:
    """Return what the law would object to in each request; nothing where it would permit.

    For tables and comparisons: no permit comes of it.
    """
    try:
        results = cedarpy.is_authorized_batch(
            [_question(request, law.told) for request in requests],
            law.policies,
            law.entities,
            law.schema,
        )
        return tuple(_objections(result, law) for result in results)
    except Exception as failure:  # noqa: BLE001  closed, whatever broke
        return ((_broken(type(failure).__name__),),) * len(requests)


def objections_to(
    question: Mapping[str, Any], entities: Sequence[Mapping[str, Any]], law: Law
) -> tuple[Reason, ...]:
    """Return what a law of another schema than a node's objects to; nothing where it permits.

    question: principal, action, resource and context as Cedar has them; entities: every one that
    it names, with its attributes.
    """
    try:
        known = [dict(entity) for entity in entities]
        result = cedarpy.is_authorized(dict(question), law.policies, known, law.schema)
        return _objections(result, law)
    except Exception as failure:  # noqa: BLE001  closed, whatever broke
        return (_broken(type(failure).__name__),)


def _objections(result: cedarpy.AuthzResult, law: Law) -> tuple[Reason, ...]:
    """Return the reasons of a refusal, sorted; empty only for an allow that nothing disturbed."""
    errors = result.diagnostics.errors
    named = result.diagnostics.id_annotations_by_reason
    matched = [named.get(policy, policy) for policy in result.diagnostics.reasons]
    if errors or result.decision is cedarpy.Decision.NoDecision:
        reasons = [_UNDECIDED]
    elif result.decision is cedarpy.Decision.Allow:
        return ()
    else:
        reasons = [] if matched else [_SILENCE]
    reasons += [law.reasons[rule] for rule in matched if rule in law.reasons]
    return tuple(sorted(reasons, key=lambda reason: reason.id)) or (_SILENCE,)


_WORDS: Final = ("approved", "countersigned")
"""Words of people that an order may still lack; rules forbid unless they were said."""


def _question(request: Request, told: Iterable[str] = _WORDS) -> dict[str, Any]:
    context: dict[str, Any] = {
        "proposer_role": request.proposer_role,
        "purpose": request.purpose,
        "legal_basis": request.legal_basis,
        "node": request.node,
        "role": request.role,
        "jurisdiction": request.jurisdiction,
        "unit": request.unit,
        "personal": request.personal,
        "epsilon": {"__extn": {"fn": "decimal", "arg": _priced(request)}},
        "delta_e12": int(
            (_price(request.delta, "delta") * 10**12).to_integral_value(ROUND_CEILING)
        ),
        "grouped": sorted(request.grouped),
        "filtered": sorted(request.filtered),
        "aggregated": sorted(request.aggregated),
        "masked": sorted(request.masked),
        "joined": sorted(request.joined),
        "recipients": sorted({territory(place) for place in request.recipients}),
        "aggregator": territory(request.aggregator),
        "leaves": request.leaves,
        "today": request.today,
        "cohort": request.cohort,
        "minimum_cohort": request.minimum_cohort,
        "code_matches": request.code_matches,
        "expired": request.expired,
        "private": request.private,
        "discloses": request.discloses,
    }
    context |= {word: getattr(request, word) for word in told}
    if request.keyholder is not None:
        context["keyholder"] = territory(request.keyholder)
    if request.exported_persons is not None:
        context["exported_persons"] = request.exported_persons
    return {
        "principal": {"type": "Party", "id": request.proposer},
        "action": {"type": "Action", "id": request.action},
        "resource": {"type": "Dataset", "id": request.dataset},
        "context": context,
    }


def _priced(request: Request) -> str:
    """Return the price; a disclosure that people approve has none."""
    if request.action == "match" and request.discloses and not request.private:
        return "0.0"
    return _rounded_up(request.epsilon)


def _rounded_up(epsilon: str) -> str:
    """Return the four-digit decimal not below `epsilon`: rounding is always against the asker."""
    number = _price(epsilon, "epsilon")
    return format(number.quantize(Decimal("0.0001"), rounding=ROUND_CEILING), "f")


def _price(text: str, name: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as why:
        raise ValueError(f"{name} is not a decimal number") from why
    if not number.is_finite() or number <= 0:
        raise ValueError(f"{name} is not a finite number above zero")
    return number


_TEXTS: Final = ("law", "en", "zh", "fix_en", "fix_zh")


def _reasons(rules: Mapping[str, Any]) -> dict[str, Reason]:
    reasons: dict[str, Reason] = {}
    seen: set[str] = set()
    for rule in rules.values():
        notes = rule.get("annotations", {})
        name = notes.get("id")
        if not name or name in seen:
            which = f"two have {name}" if name else f"one of {len(rules)} rules has none"
            raise MalformedLawError(f"every rule has an @id of its own; {which}")
        seen.add(name)
        if rule["effect"] == "forbid":
            reasons[name] = _reason(name, notes)
    return reasons


def _reason(name: str, notes: Mapping[str, str]) -> Reason:
    absent = [key for key in _TEXTS if not notes.get(key)]
    absent += [key for key in ("override",) if key not in notes]
    if absent:
        raise MalformedLawError(f"rule {name} lacks {', '.join(f'@{key}' for key in absent)}")
    law, en, zh, fix_en, fix_zh = (notes[key] for key in _TEXTS)
    return Reason(name, law, en, zh, fix_en, fix_zh, notes["override"] or None)


def _broken(what: str) -> Reason:
    return Reason(
        "LAW-000",
        "Fail closed",
        f"The law could not be asked ({what}), so it refuses",
        f"无法进行规则评估({what}),因此拒绝",
        "send a request with plain numbers; else let the operator run `entrepot node check`",
        "请使用普通数字重新请求;否则请节点运营方运行 `entrepot node check`",
        None,
    )


_UNDECIDED: Final = Reason(
    "LAW-002",
    "Fail closed",
    "A rule, or this request, could not be evaluated, so the law refuses",
    "某条规则或该请求无法评估,因此拒绝",
    "let the node's operator run `entrepot node check`",
    "请节点运营方运行 `entrepot node check`",
    None,
)

_SILENCE: Final = Reason(
    "LAW-001",
    "Fail closed",
    "No rule permits this",
    "没有规则允许该请求",
    "let the node's operator look at policy/*.cedar",
    "请节点运营方检查 policy/*.cedar",
    None,
)


def _first_line(what: object) -> str:
    return str(what).strip().splitlines()[0][:200]
