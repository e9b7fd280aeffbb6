"""Several sums in place of one: who sums with whom in a round, and what is made of the sums.

    cohort → groups, drawn anew each round → one secure sum each → the trimmed mean per coordinate

A party may multiply what it clipped before it masks it; no mask shows that. In ONE sum over all
nothing bounds what it does. Of several sums, the highest and the lowest are dropped, coordinate by
coordinate, and the mean of the others stands for all [Yin, Chen, Ramchandran, Bartlett 2018, arXiv
1803.01498]: as many parties as are `trimmed` at each end may send anything, whatever the division,
and each coordinate stays between those of groups without them. More may spoil more groups than are
dropped, where chance puts them apart; then nothing is promised.

It costs noise. Each group's sum carries ALL of σ² by itself, so that what is made of g of them,
k = g - 2 · trimmed of which are kept, carries up to σ² g²/k in place of σ² where they are of equal
size: up to eight times as much at the best choice of g, four for each that is trimmed at an end,
and about five where groups are alike. It costs no privacy: a unit's rows are at one node, that node
is in one group of a round, and the sums of the other groups would be the same without them. So a
round is one release of that unit, at the price of one sum.

Privacy never rests on the division. Whoever chose it would choose of whom a sum is, as whoever
chooses a cohort does: a node takes part in no sum of fewer than the order's minimum, nor of so few
that c who work together would see one input alone, and the price is that of the worst such sum. An
order is for 20 nodes or more; its rounds go on with as many as fill every group.

Who may still choose it: it follows from order, round and the signed keys of the epoch, so nobody
who draws a key knows it before the keys of all others are known. The aggregator knows them first.
It may leave a party out of the epoch, and a party that works with it may draw keys until it likes
the division. Saying that somebody is lost moves where groups end and draws nothing again; but it
may say so of many, and to each node otherwise. So trimming is for liars among the nodes, where the
aggregator is honest enough to sum as it was asked: one that is not could write any model itself.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from federation.errors import MalformedOrderError
from secure_compute import canonical
from secure_compute.canonical import JSON

Array: TypeAlias = NDArray[np.float64]
Name = TypeVar("Name", bound=str)

FEWEST_GROUPED: Final = 20
"""Nodes below which groups would be too few to drop any, or too small, or noisier than useful."""

_DRAWN: Final = "entrepot/groups/1"


@dataclass(frozen=True, slots=True, eq=False)
class Total:
    """What one secure sum came to.

    values: [d] as parts of 1.0; noise: the standard deviation of what noise is in each of them.
    nodes:  whose units are in it.
    """

    values: Array
    noise: float
    nodes: int


def fewest_in_a_group(colluding: int) -> int:
    """Return the fewest nodes of a sum in which c that collude do not leave one input alone.

    The threshold of n nodes leaves two honest inputs, ⌊(n + c)/2⌋ + 1 - c ≥ 2, from n = c + 2 on.
    """
    return colluding + 2


def fewest_nodes(groups: int, colluding: int) -> int:
    """Return the fewest nodes that an order of `groups` may be for."""
    least = groups * fewest_in_a_group(colluding)
    return max(FEWEST_GROUPED, least) if groups > 1 else least


def require_groups(nodes: int, colluding: int, groups: int, trimmed: int) -> None:
    """Accept a division that protects every group, and trimming that leaves one.

    Raises:
        MalformedOrderError: with every reason why not.
    """
    least, smallest = fewest_in_a_group(colluding), nodes // groups
    reasons = {
        "trimming drops groups and there is one: set groups, or leave trimmed at 0": (
            trimmed > 0 and groups == 1
        ),
        f"trimming {trimmed} at each end leaves none of {groups} groups: set trimmed lower, or "
        f"groups to {2 * trimmed + 1} or more": groups > 1 and 2 * trimmed >= groups,
        f"groups are for {FEWEST_GROUPED} nodes or more, not {nodes}: leave groups at 1": (
            groups > 1 and nodes < FEWEST_GROUPED
        ),
        f"{groups} groups of {nodes} nodes have {smallest} in one and, with {colluding} that may "
        f"collude, all in one group, each needs {least}: set groups lower": (
            groups > 1 and smallest < least
        ),
    }
    held = [reason for reason, holds in reasons.items() if holds]
    if held:
        raise MalformedOrderError(f"The recipe's groups do not fit: {'; '.join(held)}.")


def divide(parties: Sequence[Name], count: int, *drawn_from: JSON) -> tuple[tuple[Name, ...], ...]:
    """Return `count` groups of nearly equal size, each party in one of them.

    Parties stand in the order of SHA-256 over what is drawn from and their name, as good as chance
    to whoever has not hashed it; groups are stretches of that order. So every permutation is as
    likely as any other, and a party that leaves moves where groups end and not the order.

    drawn_from: all that decides; the same gives the same groups on any machine.
    """
    if count == 1:
        return (tuple(parties),)
    seed = canonical.encode([_DRAWN, *drawn_from])
    ranked = sorted(parties, key=lambda party: hashlib.sha256(seed + party.encode()).digest())
    ends = [place * len(ranked) // count for place in range(count + 1)]
    return tuple(tuple(ranked[a:b]) for a, b in pairwise(ends))


def together(sums: Sequence[Total], trimmed: int) -> Total:
    """Return what stands for the sum over all nodes that are in `sums`.

    Without trimming it is their sum. With it, each group's sum is divided by its nodes, so that one
    of fewer nodes says as much as any other; of these means the `trimmed` highest and lowest of
    each coordinate are dropped, and the mean of the others is multiplied by the nodes of ALL the
    sums. A group that was lost is not among them: its nodes are not counted, as lost nodes never
    are, and it is no group of zeros. Steps are then smaller, because the order's divisors stay.

    Its noise is an upper bound. The trimmed mean has slope nodes/(k · n_i) in each group i that it
    keeps and none in the others; by the Gaussian Poincaré inequality [Boucheron, Lugosi, Massart
    2013, Theorem 3.20] its variance is at most the mean of Σ (slope · σ_i)² over the k that are
    kept, so at most the k largest of them. Groups that differ by much more than their noise reach
    it; where they are alike, the middle two of four have .77 of it. Skellam noise of many steps is
    as good as Gaussian here. That trimming moves the mean, where nodes differ and lean to one side,
    is no noise and is not in it.

    Raises:
        MalformedOrderError: trimming leaves nothing of so few sums.
    """
    kept, nodes = len(sums) - 2 * trimmed, sum(one.nodes for one in sums)
    if kept < 1:
        raise MalformedOrderError(f"Trimming {trimmed} at each end leaves none of {len(sums)}.")
    if not trimmed:
        added: Array = np.sum([one.values for one in sums], axis=0)
        return Total(added, math.sqrt(sum(one.noise**2 for one in sums)), nodes)
    means = np.sort([one.values / one.nodes for one in sums], axis=0)
    middle: Array = means[trimmed : len(sums) - trimmed].mean(axis=0) * nodes
    loudest = sorted((one.noise / one.nodes for one in sums), reverse=True)[:kept]
    noise = nodes / kept * math.sqrt(sum(each**2 for each in loudest))
    return Total(middle, noise, nodes)
