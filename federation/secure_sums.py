"""What both sides of a secure sum derive from the order alone: the epoch, the terms, the noise.

An epoch is one order. Every node that accepts it signs a fresh agreement key for it; the keys come
back with each round, and a round's terms are derived from them here, at every node and at the
aggregator. Nothing of that is taken from whoever relays it: another key, cohort, number or length
gives another digest of the terms, and masks and signatures that fit nowhere.

A round names all who take part. Where the order has groups, every node derives its own group from
them, the number of the round and the epoch's keys, so there is no group to be told of and believed.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from federation import groups
from federation.errors import MalformedMessageError, MalformedOrderError
from federation.membership import Roster
from federation.orders import WorkOrder
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask
from policies.parties import PartyId, Role
from secure_compute import canonical, fixedpoint, skellam
from secure_compute.canonical import JSON
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


@lru_cache(maxsize=8)
def signers(roster: Roster) -> epochs.Roster:
    """Return the part of a verified roster that masks rest on; a suspended member has no part."""
    identities = (
        epochs.Identity(member.party, member.organisation, member.identity)
        for member in roster.active(*Role)
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


def divided(
    epoch: Epoch,
    session: str,
    recipe: SumRecipe,
    number: int,
    cohort: Sequence[groups.Name],
    begun: int = 0,
) -> tuple[tuple[groups.Name, ...], ...]:
    """Return who sums with whom in round `number`, from 0, of an order, or of a run called so.

    begun: rounds of the recipe that were made before the order.

    Raises:
        MalformedOrderError: a party stands twice in the cohort, and so might in two groups.
    """
    if len(set(cohort)) != len(cohort):
        raise MalformedOrderError("A round names a party twice.")
    keys: JSON = [[member.party, member.key] for member in epoch.members]
    context = (session, epoch.federation, epoch.roster, epoch.number, keys, number)
    return groups.divide(cohort, recipe.sums(begun + number), *context)


def all_terms(
    epoch: Epoch, order: WorkOrder, recipe: SumRecipe, number: int, cohort: Sequence[PartyId]
) -> tuple[Terms, ...]:
    """Return the terms of every sum of a round in which `cohort` takes part.

    Raises:
        MalformedOrderError, SecureComputeError: as `terms_of` has it of any of them.
    """
    division = _division(epoch, order, recipe, number, cohort)
    return tuple(terms_of(epoch, order, recipe, number, group) for group in division)


def own_terms(
    epoch: Epoch,
    order: WorkOrder,
    recipe: SumRecipe,
    number: int,
    cohort: Sequence[PartyId],
    me: PartyId,
) -> Terms:
    """Return the terms of the sum that `me` takes part in, of a round of `cohort`.

    Raises:
        MalformedOrderError, SecureComputeError: it is not of the round, or `terms_of` refuses.
    """
    division = _division(epoch, order, recipe, number, cohort)
    mine = [group for group in division if me in group]
    if not mine:
        raise MalformedOrderError("A round asks this node and does not name it.")
    return terms_of(epoch, order, recipe, number, mine[0])


def _division(
    epoch: Epoch, order: WorkOrder, recipe: SumRecipe, number: int, cohort: Sequence[PartyId]
) -> tuple[tuple[PartyId, ...], ...]:
    """Return who sums with whom; names that the order does not know move no group's ends."""
    _require_named(order, cohort)
    begun = TrainingTask.from_json(order.parameters).begun
    return divided(epoch, order.id, recipe, number, cohort, begun)


def _require_named(order: WorkOrder, cohort: Sequence[PartyId]) -> None:
    if not set(cohort) <= set(order.cohort):
        raise MalformedOrderError("A round names a party that its order does not name.")


def terms_of(
    epoch: Epoch, order: WorkOrder, recipe: SumRecipe, number: int, cohort: Sequence[PartyId]
) -> Terms:
    """Return the terms of one sum of round `number`, from 0; its recipe may have begun before.

    cohort: who sums: all of the round, or one group of it.

    Raises:
        MalformedOrderError: the cohort is smaller than the order's minimum or than a sum can hide,
            or names a party that the order does not; or there is no such round.
        SecureComputeError: a party of it gave no key, or an organisation stands twice in it.
    """
    _require_named(order, cohort)
    if len(set(cohort)) < order.minimum:
        raise MalformedOrderError(
            f"A sum of {len(set(cohort))} parties is asked and the order's minimum is "
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


def fewest_sums(recipe: SumRecipe, number: int) -> int:
    """Return how many sums of round `number`, from 0, must be opened for one to be left over."""
    return 1 if recipe.evaluates(number) else 2 * recipe.trimmed + 1


def made_of(recipe: SumRecipe, number: int, totals: Sequence[groups.Total]) -> groups.Total:
    """Return what the sums of round `number`, from 0, are together: trimmed, unless it measures."""
    return groups.together(totals, 0 if recipe.evaluates(number) else recipe.trimmed)


def total_of(recipe: SumRecipe, terms: Terms, found: Sum) -> groups.Total:
    """Return an opened sum as parts of 1.0, with its noise and how many nodes' units are in it."""
    values = fixedpoint.decode(found.values, recipe.grid)
    return groups.Total(values, left_in(recipe, terms, found), len(found.survivors))


def left_in(recipe: SumRecipe, terms: Terms, found: Sum) -> float:
    """Return the standard deviation of the noise that an opened sum carries, as parts of 1.0."""
    share = remaining(terms.parameters, found.layers.values())
    return math.sqrt(share * recipe.noise_scale**2) / recipe.grid
