"""What the numbers say, in sentences: computed, so that they cannot be kinder than the numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from experiments.outcome import Language, PartyScores, Scores, Training
from experiments.words import say, score

JOINED: Final[dict[Language, str]] = {"en": ", ", "zh": "、"}
SHOWN: Final = 3
"""Digits after the point: a difference that the table does not show is none."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How a score is read. baseline: the id of what costs nothing."""

    baseline: str
    lower_is_better: bool

    def best(self, *values: float | None) -> float | None:
        """Return the best of the values that were measured, or None."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return min(known) if self.lower_is_better else max(known)

    def is_better(self, one: float, other: float) -> bool:
        """Whether `one` beats `other` by something that the table shows."""
        difference = round(one, SHOWN) - round(other, SHOWN)
        return difference < 0 if self.lower_is_better else difference > 0


WAPE: Final = Measure("naive", lower_is_better=True)
PRECISION: Final = Measure("base_rate", lower_is_better=False)


def alone(scores: Scores, measure: Measure) -> float | None:
    """Return the best a party has without the federation."""
    return measure.best(scores.baseline, scores.local)


def is_helped(scores: Scores, measure: Measure) -> bool | None:
    """Whether the federation with privacy beats what there is without it; None: not measured."""
    best = alone(scores, measure)
    if best is None or scores.federated_dp is None:
        return None
    return measure.is_better(scores.federated_dp, best)


def verdicts(training: Training, measure: Measure, language: Language) -> tuple[str, ...]:
    """Return the sentences below a table, the newcomer's first."""
    return tuple(_sentences(training, measure, language))


def _sentences(training: Training, measure: Measure, language: Language) -> Iterator[str]:
    for row in training.parties:
        if row.party == training.newcomer:
            yield from _newcomer(row, measure, language)
    yield from _overall(training.overall, measure, language)
    yield from _parties(training.parties, measure, language)
    yield from _cost(training.overall, measure, language)


def _newcomer(row: PartyScores, measure: Measure, language: Language) -> Iterator[str]:
    helped = is_helped(row.scores, measure)
    if helped is None:
        return
    yield say(
        "verdict.newcomer_gains" if helped else "verdict.newcomer_loses",
        language,
        party=row.party,
        local=score(row.scores.local),
        federated=score(row.scores.federated_dp),
        best=score(alone(row.scores, measure)),
    )


def _overall(scores: Scores, measure: Measure, language: Language) -> Iterator[str]:
    helped = is_helped(scores, measure)
    if helped is None:
        return
    yield say(
        "verdict.overall_helps" if helped else "verdict.overall_helps_not",
        language,
        federated=score(scores.federated_dp),
        best=score(alone(scores, measure)),
    )


def _parties(rows: tuple[PartyScores, ...], measure: Measure, language: Language) -> Iterator[str]:
    helped = {row.party: is_helped(row.scores, measure) for row in rows}
    gain = [party for party, is_so in helped.items() if is_so]
    lose = [party for party, is_so in helped.items() if is_so is False]
    if gain:
        parties = JOINED[language].join(gain)
        total = len(gain) + len(lose)
        yield say("verdict.helps", language, count=len(gain), total=total, parties=parties)
    if lose:
        yield say("verdict.helps_not", language, parties=JOINED[language].join(lose))


def _cost(scores: Scores, measure: Measure, language: Language) -> Iterator[str]:
    private, free = scores.federated_dp, scores.federated
    if private is None or free is None:
        return
    costs = measure.is_better(free, private)
    yield say(
        "verdict.privacy_costs" if costs else "verdict.privacy_free",
        language,
        points=score(abs(private - free)),
        federated_dp=score(private),
        federated=score(free),
    )
