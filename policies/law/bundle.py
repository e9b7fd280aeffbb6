"""The policy texts of a node, as they are written into its folder when it is set up.

Caps are the operator's; lists of territories come from the pack of the node's territory; purposes
by grade come from `policies.masking`. Each fact has one home, and the texts are filled in from it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from string import Template
from typing import Final

from policies import masking
from policies.errors import MalformedLawError
from policies.law.filling import facts, lapses
from policies.law.packs import Pack, packs
from policies.parties import Jurisdiction, PartyId, territory

SCHEMA_NAME: Final = "schema.cedarschema"
PURPOSES: Final = (
    "market_statistics",
    "demand_forecasting",
    "fraud_prevention",
    "supply_planning",
)
_TRAINING: Final = PURPOSES[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What a node's operator allows at most.

    train_epsilon, query_epsilon, match_epsilon: ε of one order, at most four digits after the
        point.
    purposes: the allowed ones; a refusal suggests the first that fits.
    asked_epsilon, asked_purposes: above which ε, and for which purposes, a person of the party is
        asked; for nothing unless the operator says so.
    """

    train_epsilon: Decimal
    query_epsilon: Decimal
    match_epsilon: Decimal = Decimal(1)
    purposes: tuple[str, ...] = PURPOSES
    asked_epsilon: Decimal | None = None
    asked_purposes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.purposes or not all(name.isidentifier() for name in self.purposes):
            raise MalformedLawError("a node allows at least one purpose, spelled in plain letters")
        if not all(name.isidentifier() for name in self.asked_purposes):
            raise MalformedLawError("a purpose that a person is asked for is in plain letters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersigned:
    """What members of two organisations have to sign, by the federation's agreement.

    epsilon: above which ε every order is; disclosures: whether all are that tell who is in both
        sets.
    """

    epsilon: Decimal | None = None
    disclosures: bool = False


def bundle(
    node: PartyId,
    jurisdiction: Jurisdiction,
    caps: Caps,
    known: Mapping[Jurisdiction, Pack] | None = None,
    countersigned: Countersigned | None = None,
) -> dict[str, str]:
    """Return the texts of a node's policy folder by file name, the schema among them.

    known: the packs to write the rules from; the installed ones unless others are given.
    countersigned: what the federation wants two organisations to sign; nothing unless it is said.
    """
    found = packs() if known is None else known
    texts = {
        SCHEMA_NAME: law_text(SCHEMA_NAME),
        "base.cedar": _base_rules(countersigned or Countersigned()),
    }
    # A state has the rules of the territory it is part of, and its own.
    for place in dict.fromkeys((Jurisdiction(territory(jurisdiction)), jurisdiction)):
        texts[f"{place.lower()}.cedar"] = territory_rules(found[place])
    texts["node.cedar"] = _node_rules(node, caps)
    return texts


def _base_rules(signed: Countersigned) -> str:
    text = Template(law_text("base.cedar")).substitute(
        maskable=", ".join(masking.MASKABLE_FOR), maskable_set=_set(masking.MASKABLE_FOR)
    )
    more = [law_text("countersigning_disclosures.cedar")] if signed.disclosures else []
    if signed.epsilon is not None:
        above = Template(law_text("countersigning_above.cedar"))
        more.append(above.substitute(signed_epsilon=_cedar_decimal(signed.epsilon)))
    return "\n".join([text, *more])


def territory_rules(pack: Pack) -> str:
    """Return the rules of a territory or state, written from its pack."""
    text = Template(law_text(f"{pack.jurisdiction.lower()}.cedar")).substitute(facts(pack))
    until = Template(law_text("until.cedar"))
    return "\n".join([text, *(until.substitute(lapse) for lapse in lapses(pack))])


def law_text(name: str) -> str:
    """Return one shipped text, such as `base.cedar` or `packs/cn.toml`."""
    return files("policies.law").joinpath(name).read_text(encoding="utf-8")


def _node_rules(node: PartyId, caps: Caps) -> str:
    if not node.replace("-", "").replace("_", "").isalnum():
        raise MalformedLawError("a node's name is made of letters, digits and dashes")
    text = Template(law_text("node.cedar")).substitute(
        node=node,
        train_epsilon=_cedar_decimal(caps.train_epsilon),
        query_epsilon=_cedar_decimal(caps.query_epsilon),
        match_epsilon=_cedar_decimal(caps.match_epsilon),
        purposes=", ".join(caps.purposes),
        train_purpose=next((f"purpose={p}" for p in caps.purposes if p in _TRAINING), ""),
        query_purpose=f"purpose={caps.purposes[0]}",
        purpose_set=_set(caps.purposes),
    )
    return "\n".join([text, *_asking_rules(node, caps)])


def _asking_rules(node: PartyId, caps: Caps) -> Iterator[str]:
    if caps.asked_epsilon is not None:
        above = Template(law_text("asking_above.cedar"))
        yield above.substitute(node=node, asked_epsilon=_cedar_decimal(caps.asked_epsilon))
    if caps.asked_purposes:
        yield Template(law_text("asking_purposes.cedar")).substitute(
            node=node,
            asked_purposes=", ".join(caps.asked_purposes),
            asked_set=_set(caps.asked_purposes),
        )


def _set(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _cedar_decimal(number: Decimal) -> str:
    """Return `number` with one to four digits after the point, as Cedar reads decimals."""
    text = format(number.normalize(), "f")
    whole, _, rest = text.partition(".")
    if not number.is_finite() or number <= 0 or len(rest) > 4:
        raise MalformedLawError(f"a cap of {text} has more than four digits or is not above zero")
    return f"{whole}.{rest or '0'}"
