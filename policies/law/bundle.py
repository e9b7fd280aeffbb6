"""The policy texts of a node, as they are written into its folder when it is set up.

Caps are the operator's; lists of territories come from the pack of the node's territory; purposes
by grade come from `policies.masking`. Each fact has one home, and the texts are filled in from it.
"""

from collections.abc import Mapping
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
    """

    train_epsilon: Decimal
    query_epsilon: Decimal
    match_epsilon: Decimal = Decimal(1)
    purposes: tuple[str, ...] = PURPOSES

    def __post_init__(self) -> None:
        if not self.purposes or not all(name.isidentifier() for name in self.purposes):
            raise MalformedLawError("a node allows at least one purpose, spelled in plain letters")


def bundle(
    node: PartyId,
    jurisdiction: Jurisdiction,
    caps: Caps,
    known: Mapping[Jurisdiction, Pack] | None = None,
) -> dict[str, str]:
    """Return the texts of a node's policy folder by file name, the schema among them.

    known: the packs to write the rules from; the installed ones unless others are given.
    """
    found = packs() if known is None else known
    texts = {SCHEMA_NAME: law_text(SCHEMA_NAME), "base.cedar": _base_rules()}
    # A state has the rules of the territory it is part of, and its own.
    for place in dict.fromkeys((Jurisdiction(territory(jurisdiction)), jurisdiction)):
        texts[f"{place.lower()}.cedar"] = territory_rules(found[place])
    texts["node.cedar"] = _node_rules(node, caps)
    return texts


def _base_rules() -> str:
    return Template(law_text("base.cedar")).substitute(
        maskable=", ".join(masking.MASKABLE_FOR),
        maskable_set=", ".join(f'"{name}"' for name in masking.MASKABLE_FOR),
    )


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
    return Template(law_text("node.cedar")).substitute(
        node=node,
        train_epsilon=_cedar_decimal(caps.train_epsilon),
        query_epsilon=_cedar_decimal(caps.query_epsilon),
        match_epsilon=_cedar_decimal(caps.match_epsilon),
        purposes=", ".join(caps.purposes),
        train_purpose=next((f"purpose={p}" for p in caps.purposes if p in _TRAINING), ""),
        query_purpose=f"purpose={caps.purposes[0]}",
        purpose_set=", ".join(f'"{name}"' for name in caps.purposes),
    )


def _cedar_decimal(number: Decimal) -> str:
    """Return `number` with one to four digits after the point, as Cedar reads decimals."""
    text = format(number.normalize(), "f")
    whole, _, rest = text.partition(".")
    if not number.is_finite() or number <= 0 or len(rest) > 4:
        raise MalformedLawError(f"a cap of {text} has more than four digits or is not above zero")
    return f"{whole}.{rest or '0'}"
