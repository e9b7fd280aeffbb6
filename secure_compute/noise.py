"""Exact discrete Gaussian noise, drawn in bulk from an entropy source.

Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy"
(arXiv 2004.00010): Algorithm 1 (a coin of bias exp(-γ)), Algorithm 2 (discrete
Laplace) and Algorithm 3 (discrete Gaussian), each over a whole array at once.
σ is an integer and the proposal is the discrete Laplace of scale t = σ.

No floating-point number takes part, so the low bits of a draw say nothing about
what it was added to.  Every coin is a comparison of integers below 2^63:

    |Y| = U + σV with 0 <= U < σ, and Algorithm 3 accepts Y with probability
    exp(-(|Y| - σ)² / 2σ²).  For V >= 1 and x = U/σ the exponent is
    (V-1)²/2 + (V-1)x + x²/2; for V = 0 it is x²/2 with x = (σ-U)/σ.

Each summand is a coin of its own, so no square of a large number is ever formed and
σ may be as large as 2^60.  The time taken depends on the draws: not constant-time.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from secure_compute.entropy import Entropy
from secure_compute.errors import LocalProtocolError

Integers: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]
Truths: TypeAlias = NDArray[np.bool_]
Indices: TypeAlias = NDArray[np.intp]
Trial: TypeAlias = Callable[[Indices], Truths]

_WORD_BOUND = 1 << 63
_LARGEST_BOUND = 1 << 62
LARGEST_SCALE = 1 << 60


def discrete_gaussian(scale: int, size: int, entropy: Entropy) -> Integers:
    """Return `size` independent draws from N_ℤ(0, scale²), [size] int64.

    P(x) is proportional to exp(-x² / 2·scale²) over the integers (Algorithm 3).

    Raises:
        LocalProtocolError: `scale` is not an integer in [1, 2^60].
    """
    _require_scale(scale)
    drawn = [np.empty(0, np.int64)]
    missing = size
    while missing:
        fresh = _attempts(scale, missing + missing // 2 + 16, entropy)[:missing]
        drawn.append(fresh)
        missing -= len(fresh)
    return np.concatenate(drawn)


def discrete_laplace(scale: int, size: int, entropy: Entropy) -> Integers:
    """Return `size` independent draws, [size] int64, with P(x) ∝ exp(-|x| / scale) (Algorithm 2).

    Raises:
        LocalProtocolError: `scale` is not an integer in [1, 2^60].
    """
    _require_scale(scale)
    drawn = [np.empty(0, np.int64)]
    missing = size
    while missing:
        remainder, quotient, negative = _laplace(scale, missing + missing // 2 + 16, entropy)
        magnitude = remainder.astype(np.int64) + scale * quotient
        drawn.append(np.where(negative, -magnitude, magnitude)[:missing])
        missing -= len(drawn[-1])
    return np.concatenate(drawn)


def bernoulli(numerator: Words | int, denominator: int, size: int, entropy: Entropy) -> Truths:
    """Return `size` coins, each true with probability exactly numerator / denominator.

    `numerator` is one integer or [size] integers, each in [0, denominator].

    Raises:
        LocalProtocolError: `denominator` is not in [1, 2^62].
    """
    _require_bound(denominator)
    width = _WORD_BOUND // denominator
    words = _below(denominator * width, size, entropy)
    return words < np.asarray(numerator, np.uint64) * np.uint64(width)


def uniform(bound: int, size: int, entropy: Entropy) -> Words:
    """Return `size` integers, each uniform over [0, bound).

    Raises:
        LocalProtocolError: `bound` is not in [1, 2^62].
    """
    _require_bound(bound)
    width = _WORD_BOUND // bound
    return _below(bound * width, size, entropy) // np.uint64(width)


def _require_scale(scale: int) -> None:
    if not 1 <= scale <= LARGEST_SCALE:
        raise LocalProtocolError(
            "The noise scale must be an integer from 1 to 2^60: choose a coarser grid."
        )


def _require_bound(bound: int) -> None:
    if not 1 <= bound <= _LARGEST_BOUND:
        raise LocalProtocolError(
            "A random draw needs a denominator from 1 to 2^62: write the rate with fewer decimals."
        )


def _below(limit: int, size: int, entropy: Entropy) -> Words:
    """Return [size] words uniform over [0, limit), 2^62 <= limit <= 2^63, by rejection."""
    words = _words(size, entropy)
    bad = np.flatnonzero(words >= np.uint64(limit))
    while len(bad):
        words[bad] = _words(len(bad), entropy)
        bad = bad[words[bad] >= np.uint64(limit)]
    return words


def _words(size: int, entropy: Entropy) -> Words:
    """Return [size] words uniform over [0, 2^63)."""
    return np.frombuffer(entropy.bytes(8 * size), "<u8").astype(np.uint64) >> np.uint64(1)


def _attempts(scale: int, size: int, entropy: Entropy) -> Integers:
    """Return those of `size` proposals that Algorithm 3 accepts, in the order proposed."""
    remainder, quotient, negative = _laplace(scale, size, entropy)
    kept = _accepted(scale, remainder, quotient, entropy)
    magnitude = remainder[kept].astype(np.int64) + scale * quotient[kept]
    return np.where(negative[kept], -magnitude, magnitude)


def _laplace(scale: int, size: int, entropy: Entropy) -> tuple[Words, Integers, Truths]:
    """Return up to `size` draws Y of the discrete Laplace of scale t (Algorithm 2, s = 1).

    A draw is (U, V, sign) with |Y| = U + tV; a rejected proposal is left out.
    """
    remainder = uniform(scale, size, entropy)
    remainder = remainder[_decay(_ratio(remainder, scale, entropy), size, entropy)]
    quotient = _run_length(len(remainder), entropy)
    negative = bernoulli(1, 2, len(remainder), entropy)
    kept = ~(negative & (remainder == 0) & (quotient == 0))  # zero has one sign only
    return remainder[kept], quotient[kept], negative[kept]


def _accepted(scale: int, remainder: Words, quotient: Integers, entropy: Entropy) -> Truths:
    """Return which proposals survive a coin of bias exp(-(|Y| - σ)² / 2σ²)."""
    along = _ratio(np.where(quotient == 0, np.uint64(scale) - remainder, remainder), scale, entropy)
    half = _constant(1, 2, entropy)

    def half_square(index: Indices) -> Truths:
        passed = half(index)
        for _ in range(2):
            passed[passed] = along(index[passed])
        return passed

    steps = np.maximum(quotient - 1, 0)
    alive = _decay(half_square, len(remainder), entropy)
    alive = _survivors(half, steps * steps, alive, entropy)
    return _survivors(along, steps, alive, entropy)


def _survivors(trial: Trial, times: Integers, alive: Truths, entropy: Entropy) -> Truths:
    """Return which of the living also pass `times` coins of bias exp(-γ) each."""
    alive = alive.copy()
    index = np.flatnonzero(alive & (times > 0))
    tossed = 0
    while len(index):
        passed = _decay(_chosen(trial, index), len(index), entropy)
        alive[index[~passed]] = False
        tossed += 1
        index = index[passed & (times[index] > tossed)]
    return alive


def _run_length(size: int, entropy: Entropy) -> Integers:
    """Return [size] counts of the coins of bias 1/e that fell true before the first false."""
    lengths = np.zeros(size, np.int64)
    index = np.arange(size)
    while len(index):
        index = index[_decay(_certain, len(index), entropy)]
        lengths[index] += 1
    return lengths


def _decay(trial: Trial, size: int, entropy: Entropy) -> Truths:
    """Return [size] coins of bias exp(-γ_i), where `trial` tosses coins of bias γ_i <= 1.

    Algorithm 1: with K the first k whose coin of bias γ/k falls false, the answer is
    whether K is odd.  A coin of bias γ/k is a coin of bias 1/k and one of bias γ.
    """
    odd = np.zeros(size, np.bool_)
    index = np.arange(size)
    k = 1
    while len(index):
        passed = bernoulli(1, k, len(index), entropy) if k > 1 else _certain(index)
        passed[passed] = trial(index[passed])
        odd[index[~passed]] = k % 2 == 1
        index = index[passed]
        k += 1
    return odd


def _ratio(numerators: Words, denominator: int, entropy: Entropy) -> Trial:
    """Return a trial whose i-th coin has bias numerators[i] / denominator."""
    return lambda index: bernoulli(numerators[index], denominator, len(index), entropy)


def _constant(numerator: int, denominator: int, entropy: Entropy) -> Trial:
    """Return a trial whose coins all have bias numerator / denominator."""
    return lambda index: bernoulli(numerator, denominator, len(index), entropy)


def _chosen(trial: Trial, chosen: Indices) -> Trial:
    """Return `trial` renumbered: its i-th coin is the chosen[i]-th of the original."""
    return lambda index: trial(chosen[index])


def _certain(index: Indices) -> Truths:
    """Return coins that always fall true."""
    return np.ones(len(index), np.bool_)
