"""What both sides of a secure sum derive from the order alone: the epoch, the terms, the noise.

An epoch is one order. Every node that accepts it signs a fresh agreement key for it; the keys come
back with each round, and a round's terms are derived from them here, at every node and at the
aggregator. Nothing of that is taken from whoever relays it: another key, cohort, number or length
gives another digest of the terms, and masks and signatures that fit nowhere.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from federation.errors import MalformedMessageError, MalformedOrderError
from federation.membership import Roster
from federation.orders import WorkOrder
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask
from policies.parties import PartyId
from secure_compute import canonical, skellam
from secure_compute.errors import NotCanonicalError
from secure_compute.secagg import epoch as epochs
from secure_compute.secagg.epoch import Epoch, EpochKey
from secure_compute.secagg.layers import remaining
from secure_compute.secagg.node import Expand
from secure_compute.secagg.ring import Integers
from secure_compute.secagg.terms import Terms
from secure_compute.secagg.unmasking import Sum

EPOCH_KEY: Final = "epoch_key"
"""Where an accepted order's reply carries the node's key."""

_NUMBER_DIGITS: Final = 12


def signers(roster: Roster) -> epochs.Roster:
    """Return the part of a verified roster that masks rest on."""
    identities = (
        epochs.Identity(member.party, member.organisation, member.identity)
        for member in roster.members
    )
    return epochs.Roster(roster.federation, canonical.digest(roster.to_json()), tuple(identities))


def epoch_number(order_id: str) -> int:
    """Return the number of an order's epoch, 48 bits of its id: no key serves two orders."""
    return int(order_id[:_NUMBER_DIGITS], 16)


def pack_keys(keys: Sequence[bytes]) -> bytes:
    """Return signed epoch keys as one part of a letter."""
    return canonical.encode([key.hex() for key in keys])


def unpack_keys(blob: bytes) -> tuple[bytes, ...]:
    """Return what `pack_keys` packed.

    Raises:
        MalformedMessageError: it packed nothing of this form.
    """
    try:
        listed = canonical.decode(blob)
        if isinstance(listed, list):
            return tuple(bytes.fromhex(key) for key in listed if isinstance(key, str))
    except (NotCanonicalError, ValueError) as why:
        raise MalformedMessageError("the epoch keys in a letter cannot be read") from why
    raise MalformedMessageError("the epoch keys in a letter are no list")


def epoch_of(roster: Roster, order_id: str, keys: Iterable[bytes]) -> Epoch:
    """Return the epoch of all whose keys are here, every one of them checked.

    Raises:
        SecureComputeError: a key is damaged, not signed by whom it names, or of another order.
    """
    read = (EpochKey.read(key) for key in keys)
    return epochs.gather(signers(roster), epoch_number(order_id), read)


def terms_of(
    epoch: Epoch, order: WorkOrder, recipe: SumRecipe, number: int, cohort: Sequence[PartyId]
) -> Terms:
    """Return the terms of round `number`, from 0, of an order; its recipe may have begun before.

    Raises:
        MalformedOrderError: the cohort is smaller than the order's minimum or than a sum can hide,
            or names a party that the order does not; or there is no such round.
        SecureComputeError: a party of it gave no key, or an organisation stands twice in it.
    """
    if not set(cohort) <= set(order.cohort):
        raise MalformedOrderError("A round names a party that its order does not name.")
    if len(set(cohort)) < order.minimum:
        raise MalformedOrderError(
            f"A round of {len(set(cohort))} parties is asked and the order's minimum is "
            f"{order.minimum}."
        )
    begun = TrainingTask.from_json(order.parameters).begun
    if not 0 <= number < recipe.rounds - begun:
        raise MalformedOrderError("A round beyond those that the order has.")
    return Terms.of(
        epoch,
        session=order.id,
        round=number,
        cohort=cohort,
        parameters=recipe.parameters(len(cohort), order.minimum),
        dimension=recipe.dimension(begun + number),
    )


def expander(recipe: SumRecipe, terms: Terms) -> Expand:
    """Return what makes the noise of one layer of a round from its seed; layer 0 is the base."""
    parts = recipe.shares(terms.parameters).parts

    def expand(seed: bytes, layer: int) -> Integers:
        return skellam.draw(parts[layer], terms.dimension, seed)

    return expand


def left_in(recipe: SumRecipe, terms: Terms, found: Sum) -> float:
    """Return the standard deviation of the noise that an opened sum carries, as parts of 1.0."""
    share = remaining(terms.parameters, found.layers.values())
    return math.sqrt(share * recipe.noise_scale**2) / recipe.grid
