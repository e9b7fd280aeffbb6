"""The policy texts of a node, as they are written into its folder when it is set up."""

from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from string import Template
from typing import Final

from policies.errors import MalformedLawError
from policies.parties import Jurisdiction, PartyId

SCHEMA_NAME: Final = "schema.cedarschema"
PURPOSES: Final = (
    "market_statistics",
    "demand_forecasting",
    "fraud_prevention",
    "supply_planning",
)
_TRAINING: Final = PURPOSES[1:]
_COUNTRIES: Final = {
    Jurisdiction.CN,
    Jurisdiction.EU,
    Jurisdiction.UK,
    Jurisdiction.US,
    Jurisdiction.BR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What a node's operator allows at most.

    train_epsilon, query_epsilon: ε of one order, at most four digits after the point.
    purposes: the allowed ones; a refusal suggests the first that fits.
    """

    train_epsilon: Decimal
    query_epsilon: Decimal
    purposes: tuple[str, ...] = PURPOSES

    def __post_init__(self) -> None:
        if not self.purposes or not all(name.isidentifier() for name in self.purposes):
            raise MalformedLawError("a node allows at least one purpose, spelled in plain letters")


def bundle(node: PartyId, jurisdiction: Jurisdiction, caps: Caps) -> dict[str, str]:
    """Return the texts of a node's policy folder by file name, the schema among them."""
    texts = {SCHEMA_NAME: law_text(SCHEMA_NAME), "base.cedar": law_text("base.cedar")}
    if jurisdiction in _COUNTRIES:
        name = f"{jurisdiction.lower()}.cedar"
        texts[name] = law_text(name)
    texts["node.cedar"] = _node_rules(node, caps)
    return texts


def law_text(name: str) -> str:
    """Return one shipped text, such as `base.cedar`."""
    return files("policies.law").joinpath(name).read_text(encoding="utf-8")


def _node_rules(node: PartyId, caps: Caps) -> str:
    if not node.replace("-", "").replace("_", "").isalnum():
        raise MalformedLawError("a node's name is made of letters, digits and dashes")
    return Template(law_text("node.cedar")).substitute(
        node=node,
        train_epsilon=_cedar_decimal(caps.train_epsilon),
        query_epsilon=_cedar_decimal(caps.query_epsilon),
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
