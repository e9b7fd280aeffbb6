"""What the law refuses, by who is at fault; the operands are attributes.

Messages carry names, counts and prices, never a value from a row: messages are logged, and logs
cross borders.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias


class PolicyError(Exception):
    """Root of this package's errors; never raised itself."""


class MalformedContractError(PolicyError):
    """A data contract lacks something or says something that it may not."""


class NonConformantError(PolicyError):
    """The table is not what the data contract promises."""


class UnitMismatchError(PolicyError):
    """Two contracts over the same subjects do not protect the same unit."""


class SmallCohortError(PolicyError):
    """Fewer organisations contributed than a release needs."""


class MalformedEventError(PolicyError):
    """A privacy event is not one that this version can print."""


class UnattainableError(PolicyError):
    """No noise below the ceiling reaches the wanted epsilon."""


class UnknownWindowError(PolicyError):
    """The order reads a window that this node never opened."""


Purse: TypeAlias = Literal["epsilon", "failures"]


class InsufficientBudgetError(PolicyError):
    """The account cannot pay; nothing was set aside.

    purse:     which purse is too small: `epsilon` at the account's δ, or `failures`, the sum of the
               δ's that the releases bring along themselves; the figures below are of that purse.
    requested: what the wanted releases cost alone.
    remaining: limit minus everything spent or reserved.
    spent:     everything spent or reserved.
    limit:     the ceiling of the account.
    scope:     the account, in words.
    affordable: the greatest ε at which the same work would pass, two digits; 0 when none would.
    releases:  how many of the wanted releases every purse could pay, where noise is no help; else
               None.
    others:    the refusals of the other purses that the same order charges.
    """

    def __init__(
        self,
        *,
        requested: float,
        remaining: float,
        spent: float,
        limit: float,
        scope: str,
        affordable: float = 0.0,
        purse: Purse = "epsilon",
        releases: int | None = None,
        others: Sequence["InsufficientBudgetError"] = (),
    ) -> None:
        self.requested = requested
        self.remaining = remaining
        self.spent = spent
        self.limit = limit
        self.scope = scope
        self.affordable = affordable
        self.purse = purse
        self.releases = releases
        self.others = tuple(others)
        what = "epsilon" if purse == "epsilon" else "a further failure probability of"
        super().__init__(
            f"the account of {scope} cannot pay {what} {requested:.4g}: {spent:.4g} of "
            f"{limit:.4g} is spent or reserved; {self.advice}"
        )

    @property
    def advice(self) -> str:
        """Say what to do instead."""
        if self.affordable > 0:
            return f"ask for privacy.epsilon={self.affordable:.2f} or less"
        if self.releases:
            return f"ask for {self.releases} releases or fewer; more noise does not help"
        if self.purse == "epsilon":
            return "nothing more can be asked of these rows in this window"
        return "ask for a release without a failure probability; more noise does not help"

    def with_releases(self, releases: int) -> "InsufficientBudgetError":
        """Return this refusal with how many of the wanted releases every purse could pay."""
        return self._changed(releases=releases)

    @property
    def every(self) -> tuple["InsufficientBudgetError", ...]:
        """Return the refusals of all accounts, this one first."""
        return (self, *self.others)

    @property
    def override(self) -> str | None:
        """Return the nearest request that would pass, or None."""
        return f"privacy.epsilon={self.affordable:.2f}" if self.affordable > 0 else None

    def among(
        self, others: Sequence["InsufficientBudgetError"], affordable: float
    ) -> "InsufficientBudgetError":
        """Return this refusal beside those of other purses, and what would pass in all."""
        return self._changed(affordable=affordable, others=others)

    def _changed(self, **changes: Any) -> "InsufficientBudgetError":
        figures: dict[str, Any] = {
            "requested": self.requested,
            "remaining": self.remaining,
            "spent": self.spent,
            "limit": self.limit,
            "scope": self.scope,
            "affordable": self.affordable,
            "purse": self.purse,
            "releases": self.releases,
            "others": self.others,
        }
        return InsufficientBudgetError(**{**figures, **changes})


class UnknownReservationError(PolicyError):
    """Nothing was reserved under this order's name, so nothing of it may leave."""


class ClosedOrderError(PolicyError):
    """The order is closed: what it had not released was given back."""


class OverdrawnError(PolicyError):
    """The order asks for more releases than were reserved for it."""


class ChangedOrderError(PolicyError):
    """An order's name comes back with other contents than were reserved."""


class ForeignBooksError(PolicyError):
    """The file is no account book of this version."""


class MalformedLawError(PolicyError):
    """A policy text does not parse, does not match the schema, or lacks its annotations."""


class MalformedPackError(PolicyError):
    """A policy pack says too little, too much, or something impossible."""


class NoMechanismError(PolicyError):
    """No transfer mechanism is on record for where something would go."""


class NotForThereError(PolicyError):
    """An artefact would go where it was never meant to go."""


class MisplacedError(PolicyError):
    """The aggregator or a keyholder would work where a party's law does not let it."""


class ForbiddenUseError(PolicyError):
    """A column would be used as its grade does not allow for this purpose."""


class MalformedCasesError(PolicyError):
    """A given/expect table says something unknown, or nothing."""
