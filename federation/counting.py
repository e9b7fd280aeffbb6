"""Methods whose first sums count, and whose others train on what the counts say.

What the counts say (rates by key, centres and scales) travels behind the weights of what is
trained; the sums themselves and their variance are the run's memory, in front of its own.
"""

from abc import ABC, abstractmethod

import numpy as np

from federation.losses import Loss
from federation.second_order import SecondOrder
from federation.sequences import Network
from federation.sum_states import Array, State


class CountsFirst(ABC):
    """A method of `releases` sums that count, and then of those of `then`."""

    __slots__ = ()

    releases: int

    @property
    @abstractmethod
    def trained(self) -> "SecondOrder | CountsFirst":
        """What trains once everything is counted."""

    @property
    @abstractmethod
    def counted(self) -> int:
        """How many numbers a sum that counts holds."""

    @property
    @abstractmethod
    def unsaid(self) -> Array:
        """What stands behind the weights before anything is counted; float32."""

    @abstractmethod
    def said(self, told: Array, variance: float, releases: int) -> Array:
        """Return what stands behind the weights after so many releases.

        told: their sums, added up, [counted]; variance: of the noise in each of its numbers.
        """

    @property
    def rounds(self) -> int:
        """Sums of a run."""
        return self.releases + self.trained.rounds

    @property
    def inputs(self) -> int:
        """Features of a row, its keys' places among them."""
        return self.trained.inputs

    @property
    def size(self) -> int:
        """Length of the weights: those of the model, then what the counts say."""
        return self.trained.size + len(self.unsaid)

    @property
    def model(self) -> Network:
        """The network that is trained."""
        return self.trained.model

    @property
    def loss(self) -> Loss:
        """What the method makes small."""
        return self.trained.loss

    def counts(self, number: int) -> bool:
        """Return whether round `number`, from 0, counts."""
        return number < self.releases

    def dimension(self, number: int) -> int:
        """Return how many numbers the sum of round `number`, from 0, holds."""
        later = number - self.releases
        return self.counted if self.counts(number) else self.trained.dimension(later)

    def start(self, seed: int) -> State:
        """Return the state before the first round; memory begins with counts and their variance."""
        begun = self.trained.start(seed)
        return State(
            np.concatenate([begun.weights, self.unsaid]),
            np.concatenate([np.zeros(self.counted + 1), begun.memory]),
        )

    def advance(self, state: State, number: int, total: Array, noise: float) -> State:
        """Return the state after round `number`, from 0, whose sum over all nodes was `total`."""
        weights, says = np.split(state.weights, [self.trained.size])
        told, variance, rest = np.split(state.memory, [self.counted, self.counted + 1])
        if self.counts(number):
            told, variance = told + total, variance + noise**2
            says = self.said(told, float(variance[0]), number + 1).astype(np.float32)
        else:
            later = number - self.releases
            after = self.trained.advance(State(weights, rest), later, total, noise)
            weights, rest = after.weights, after.memory
        return State(np.concatenate([weights, says]), np.concatenate([told, variance, rest]))
