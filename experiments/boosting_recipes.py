"""Boosting for the two tasks: which features fall into which cells.

Edges are places on scales that the contracts bound, written down here like the scales in
`clients/training/fraud.py`; they were chosen, like every other number, on generated commerce of
other seeds than those that results are told of. No party's rows were looked at.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from clients.training.demand import features_of
from clients.training.fraud import FEATURES
from federation.boosting import Boosting
from federation.partitions import Effect

_YES: Final = (0.5,)
_PART: Final = (0.02, 0.2, 0.4, 0.6, 0.8)  # of what is mostly 0
_COUNT: Final = (0.1, 0.3, 0.4, 0.5, 0.6, 0.75)  # between 1, 2, 3 … on the scale of counts
_SPENT: Final = (0.02, 0.3, 0.45, 0.6, 0.75)
_SELDOM: Final = (0.02, 0.3, 0.6)
_RARE: Final = (0.02, 0.1, 0.3, 0.6)
_WAVE: Final = (-0.5, 0.0, 0.5)

_FRAUD_EDGES: Final[Mapping[str, Sequence[float]]] = {
    "log_amount": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "hour_sin": _WAVE,
    "hour_cos": _WAVE,
    "card_is_not_ship": _YES,
    "card_is_not_ip": _YES,
    "ip_is_not_ship": _YES,
    "knows_card": _YES,
    "knows_ip": _YES,
    "new_here": _YES,
    "first_order": _YES,
    "count_1d": _COUNT,
    "count_7d": _COUNT,
    "count_30d": _COUNT,
    "sum_1d": _SPENT,
    "sum_7d": _SPENT,
    "sum_30d": _SPENT,
    "amount_against_month": (-0.4, -0.2, -0.05, 0.05, 0.2, 0.4, 0.6),
    "tiny": _PART,
    "dear": _PART,
    "night": _PART,
    "burst": _SELDOM,
    "tiny_in_burst": (0.02, 0.1, 0.3),
    "dear_at_night": _RARE,
    "dear_first_order": _SELDOM,
    "dear_abroad": _SELDOM,
    "dear_for_customer": _PART,
    "dear_for_customer_at_night": _RARE,
    "card_is_neither": _YES,
    "abroad": _YES,
    "abroad_at_night": _SELDOM,
}
"""By feature, before `clients.training.fraud` scales it.

Days of the week and orders with one counterparty are out: they cost noise and said too little.
"""

_FRAUD_REST: Final = {"log_amount": 4, "knows_card": 1, "knows_ip": 1, "amount_against_month": 3}
_LITTLE, _MUCH = Decimal("0.5"), Decimal("1.5")
_FRAUD_WEIGHTS: Final = {
    "hour_sin": _LITTLE,
    "hour_cos": _LITTLE,
    "knows_card": _LITTLE,
    "knows_ip": _LITTLE,
    "tiny_in_burst": _MUCH,
    "dear_at_night": _MUCH,
    "dear_first_order": _MUCH,
    "dear_abroad": _MUCH,
    "dear_for_customer_at_night": _MUCH,
    "card_is_neither": _MUCH,
    "abroad_at_night": _MUCH,
}

_STEPS: Final = ("-4", "-2", "-1", "-0.5", "-0.2", "0.2", "0.5", "1", "2", "4")
_DEMAND_CELLS: Final[Mapping[str, tuple[Sequence[str], int]]] = {
    "price": (_STEPS, 5),
    "display": (_STEPS, 5),
    "volume spread": (("-8", "-4", "-2", "-1", "-0.5", "-0.2", "-0.05"), 7),
    "last volume": (("-0.8", "-0.4", "-0.2", "-0.05", "0.05", "0.2", "0.4", "0.8"), 4),
}
"""By feature: its edges, and the cell around the usual value."""


def fraud_boosting() -> Boosting:
    """Return the recipe for the features of `clients/training/fraud.py`."""
    return Boosting(
        inputs=len(FEATURES),
        effects=tuple(_fraud_effect(name, edges) for name, edges in _FRAUD_EDGES.items()),
        loss="bce",
        start=Decimal("-4.6"),  # one order in a hundred
        effect_rounds=6,
        clip=Decimal("1.5"),
        bend=Decimal(2),
        rate=Decimal("0.4"),
        momentum=Decimal("0.5"),
        spread=Decimal("0.6"),
        reach=Decimal("0.6"),
        limit=Decimal(1),
        tree_rounds=2,
        trees=8,
        depth=2,
        tree_clip=Decimal("1.5"),
        tree_rate=Decimal("0.3"),
        tree_spread=Decimal("0.5"),
    )


def demand_boosting(window: int) -> Boosting:
    """Return the recipe for the features of `clients/training/demand.py`; it has no trees."""
    names = [feature.name for feature in features_of(window)]
    return Boosting(
        inputs=len(names),
        effects=tuple(
            Effect(names.index(name), tuple(Decimal(edge) for edge in edges), rest)
            for name, (edges, rest) in _DEMAND_CELLS.items()
        ),
        loss="mse",
        start=Decimal(0),  # as much as in the weeks before
        effect_rounds=10,
        clip=Decimal("0.8"),
        bend=Decimal("0.25"),
        rate=Decimal("0.4"),
        momentum=Decimal("0.3"),
        spread=Decimal("0.5"),
        reach=Decimal(2),
        limit=Decimal(1),
    )


def _fraud_effect(name: str, edges: Sequence[float]) -> Effect:
    feature = FEATURES[name]
    scaled = [feature.scale * (edge - feature.centre) for edge in edges]
    return Effect(
        list(FEATURES).index(name),
        tuple(Decimal(str(round(edge, 4))).normalize() for edge in scaled),
        _FRAUD_REST.get(name, 0),
        _FRAUD_WEIGHTS.get(name, Decimal(1)),
    )
