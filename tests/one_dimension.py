"""Exact distributions on a line, as logarithms: what prices are compared with."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Logs = NDArray[np.float64]


def log_sum(logs: Logs) -> float:
    top = float(logs.max())
    return top + math.log(math.fsum(np.exp(logs - top)))


def skellam(variance: float, reach: int) -> Logs:
    """log P(x) for x = −reach … reach: e^−v I_|x|(v), by ratios of neighbouring Bessel functions.

    r_n = I_{n+1}/I_n = 1/(2(n+1)/v + r_{n+1}), from far out, where r is 0, inwards.
    """
    ratio, ratios = 0.0, []
    for n in range(reach + 80 + 4 * math.isqrt(math.ceil(variance)), -1, -1):
        ratio = 1 / (2 * (n + 1) / variance + ratio)
        ratios.append(ratio)
    half = np.concatenate(([0.0], np.cumsum(np.log(ratios[::-1]))))[: reach + 1]
    logs = np.concatenate((half[:0:-1], half))
    return logs - log_sum(logs)


def laplace(scale: float, reach: int) -> Logs:
    """log P(x) ∝ −|x|/scale for x = −reach … reach."""
    logs = -np.abs(np.arange(-reach, reach + 1)) / scale
    return logs - log_sum(logs)


def moved(noise: Logs, by: int, keep: int) -> Logs:
    """log of the noise moved by `by`, on −keep … keep."""
    middle = len(noise) // 2
    return noise[middle - keep - by : middle + keep + 1 - by]


def mixed(parts: Sequence[Logs], weights: Sequence[float]) -> Logs:
    logs = [part + math.log(weight) for part, weight in zip(parts, weights, strict=True) if weight]
    return np.logaddexp.reduce(logs)


def renyi(order: int, over: Logs, under: Logs) -> float:
    """D_order(over ‖ under)."""
    return log_sum(order * over - (order - 1) * under) / (order - 1)
