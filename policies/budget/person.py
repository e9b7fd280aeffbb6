"""The person view: ε for one person who is at several silos.

A guarantee per customer and silo says less about a person whose rows several silos hold. How much
less depends on the noise:

  independent  every silo's release carries noise of its own, and the person's m releases compose:
               m times the Rényi divergence. Skellam noise is of secure sums alone, so it never is.
  shared       behind a secure sum there is ONE noise for all silos, sized for one unit, and the
               person moves the sum by up to m units. Where silos sample on their own, the number
               of units is binomial, and the release is a mixture; without sampling all m enter and
               the sensitivity is m-fold. This is WORSE than independent noise of the same ε, and
               neither "the largest of the silos" nor a plain sum bounds it.

Both hold for a person who comes or goes with all rows at all m silos. The ε's are the gate's; the
certificate of `as_events` stands beside them where there is one. Own δ's are not in ε: for a person
at m silos they are at most m times those of one silo.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from policies.budget import accountant, mixtures
from policies.budget.divergences import Leaf, of_event, of_skellam_lots, sampling_rate, tally
from policies.budget.events import Event, Grouped, Mixture, Repeated, SampledGaussian, Skellam
from policies.budget.moments import Vector

Noise: TypeAlias = Literal["independent", "shared"]


def person_view(
    events: Sequence[Event], delta: float, silos: Sequence[int], noise: Noise
) -> dict[int, float]:
    """Return ε at `delta` for a person at m silos, for every m of `silos`, rounded up.

    events: what one silo's account holds for one unit; every silo is taken to hold the same.

    Raises:
        ValueError: a number of silos is below 1.
    """
    if any(number < 1 for number in silos):
        raise ValueError("a person is at one silo or more")
    return {m: accountant.epsilon_of(_divergence(events, m, noise), delta) for m in silos}


def as_events(events: Sequence[Event], silos: int, noise: Noise) -> tuple[Event, ...]:
    """Return what happened to the person as events; of shared, sampled Skellam noise, a chain."""
    return tuple(_repeated(events, silos, noise))


def _divergence(events: Sequence[Event], silos: int, noise: Noise) -> Vector:
    counts = tally(events).items()
    return sum(
        (count * _of_lots(leaf, silos, noise) for leaf, count in counts), accountant.divergence([])
    )


def _of_lots(leaf: Leaf, silos: int, noise: Noise) -> Vector:
    if _is_own(leaf, noise):
        divergence: Vector = silos * of_event(leaf)
        return divergence
    if isinstance(leaf, Skellam) and leaf.sampling_rate < 1:
        return of_skellam_lots(leaf, silos)
    return of_event(_shared(leaf, silos))


def _is_own(leaf: Leaf, noise: Noise) -> bool:
    """Return whether every silo's release has noise of its own."""
    return noise == "independent" and not _is_summed(leaf)


def _is_summed(leaf: Leaf) -> bool:
    return isinstance(leaf.event if isinstance(leaf, Grouped) else leaf, Skellam)


def _repeated(events: Sequence[Event], silos: int, noise: Noise) -> Iterator[Event]:
    for leaf, count in tally(events).items():
        if _is_own(leaf, noise):
            yield Repeated(leaf, count * silos)
        else:
            yield Repeated(_shared(leaf, silos), count)


def _shared(leaf: Leaf, silos: int) -> Event:
    """Return one release under one noise as the person at `silos` silos meets it."""
    if silos == 1:
        return leaf
    match leaf:
        case SampledGaussian() if sampling_rate(leaf) < 1:
            return Mixture(leaf.noise_multiplier, mixtures.binomial(leaf.sampling_rate, silos))
        case Mixture():
            return Mixture(leaf.noise_multiplier, mixtures.folded(leaf.probabilities, silos))
        case Grouped():
            return Grouped(leaf.event, leaf.size * silos)
        case _:
            return Grouped(leaf, silos)
