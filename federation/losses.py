"""What a model is trained to make small, as agreed values: a name, or the quantile of a pinball.

A quantile's level stands in the recipe, one model for each, and not among a row's features. A level
that is an input would let one run answer for all levels; but a linear model could only shift all of
its forecasts by it, so that every row would have the same spread; units would need rows for every
level, or chance in their choice; and whoever reads the weights would have to know at which level
they are meant. So each quantile is a run with a price, and the order says which one it was.

The logarithm of a volume rises with it, and so does what it is relative to: the quantile of the
model's targets is the quantile of volumes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias, get_args

from federation.errors import MalformedOrderError
from federation.recipe_fields import decimal, require_range
from policies.budget.events import spell

Named: TypeAlias = Literal["bce", "huber", "mse"]

_AT_MOST: Final = {"quantile": 1}


@dataclass(frozen=True, slots=True)
class Pinball:
    """Weighs what lies above a forecast by the quantile q, and what lies below by 1 - q.

    The forecast that makes its mean smallest is the q-quantile of the targets [Koenker, Bassett
    1978, Econometrica 46(1)]. Its slope is -q, 0 or 1 - q, so a row's gradient is bounded by its
    features alone.
    """

    quantile: Decimal

    def __post_init__(self) -> None:
        """Refuse a level at which no forecast is best."""
        require_range("quantile", self.quantile, _AT_MOST, ())
        if self.quantile == 1:
            raise MalformedOrderError("The recipe's quantile must be below 1.")


Loss: TypeAlias = Named | Pinball


def require_loss(loss: object) -> None:
    """Accept a loss that models are trained by.

    Raises:
        MalformedOrderError: it is none.
    """
    if not isinstance(loss, Pinball) and loss not in get_args(Named):
        raise MalformedOrderError("A recipe's loss must be bce, huber, mse or a pinball.")


def loss_to_json(loss: Loss) -> str | dict[str, Any]:
    """Return the canonical form: a name, or the level of a pinball as a decimal string."""
    return {"pinball": spell(loss.quantile)} if isinstance(loss, Pinball) else loss


def loss_from_json(value: Any) -> Any:
    """Return the loss that `value` describes; `require_loss` says whether a name is one.

    Raises:
        MalformedOrderError: it is no name and no pinball.
    """
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) else None
    if set(value) != {"pinball"}:
        raise MalformedOrderError("The recipe's loss is of a kind this node does not know.")
    return Pinball(decimal("quantile", value["pinball"]))
