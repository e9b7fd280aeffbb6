"""What a draft asks its operator: numbered doubts, each with a proposal and what may be answered.

A question keeps its number while others are answered: those that an answer brings come at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from clients.errors import DraftError, NodeSettingsError
from clients.sources.mapped import factor, zone

Kind: TypeAlias = Literal["choice", "zone", "unit", "rate", "number"]
YES: Final = "yes"
"""The answer that takes what is proposed."""


@dataclass(frozen=True, slots=True)
class Question:
    """One doubt.

    key:      what it is about, the same in every draft of one source: `unit:amount`
    proposed: the answer that is likely; None where there is none
    choices:  what may be answered; for a zone, a unit, a rate or a number, examples of it
    """

    key: str
    asks: str
    proposed: str | None
    choices: tuple[str, ...] = ()
    kind: Kind = "choice"

    def checked(self, value: str) -> str:
        """Return the answer that `value` is.

        Raises:
            DraftError: it is none.
        """
        if value == YES and YES not in self.choices:
            if self.proposed is None:
                raise DraftError(f"{self.key}: nothing is proposed; answer {self._hint}")
            value = self.proposed
        if not self._is_answer(value):
            raise DraftError(f"{self.key}: {value!r} is no answer; answer {self._hint}")
        return value

    @property
    def _hint(self) -> str:
        if not self.choices:
            return "nothing: it is settled in the table itself, in a view or another export of it"
        ways = {
            "choice": "",
            "zone": "the IANA name of a zone, such as ",
            "unit": "a unit, one hundredth of a currency as in EUR/100, or *FACTOR: ",
            "rate": "a number above 0, or missing: ",
            "number": "a number above 0, such as ",
        }
        return ways[self.kind] + ", ".join(self.choices)

    def _is_answer(self, value: str) -> bool:
        if value in self.choices:
            return True
        read: dict[Kind, Callable[[str], object]] = {
            "zone": lambda text: zone(text, self.key),
            "unit": lambda text: factor(text.removeprefix("*") if "*" in text else "", self.key),
            "rate": lambda text: factor(text, self.key),
            "number": lambda text: factor(text, self.key),
        }
        try:
            return self.kind in read and bool(read[self.kind](value))
        except NodeSettingsError:
            return False


@dataclass(frozen=True, slots=True)
class Numbered:
    """A question of a draft, in its place. answer: None while it is open."""

    number: int
    question: Question
    answer: str | None


Asked: TypeAlias = Callable[[Mapping[str, str]], Sequence[Question]]
"""From answers by key to every question of the draft that has these answers."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier draft of the same source had: a question's number, and "" or its answer."""

    number: int
    answer: str = ""


class _Listed:
    """The questions asked so far; each has the number that it got first."""

    def __init__(self, asked: Asked, kept: Mapping[str, Kept]) -> None:
        self._asked = asked
        self._numbers = {key: one.number for key, one in kept.items()}
        self.answers: dict[str, str] = {}
        self.questions: dict[str, Question] = {}
        self.ask()

    def ask(self) -> None:
        """Ask with the answers that there are."""
        self.questions = {question.key: question for question in self._asked(self.answers)}
        for key in self.questions:
            self._numbers.setdefault(key, max(self._numbers.values(), default=0) + 1)

    def answer(self, key: str, value: str) -> None:
        """Take an answer."""
        self.answers[key] = self.questions[key].checked(value)
        self.ask()

    def key(self, number: int) -> str:
        """Return the question of a number."""
        for key in self.questions:
            if self._numbers[key] == number:
                return key
        there = ", ".join(str(one.number) for one in self.numbered())
        raise DraftError(f"there is no question {number}; there are {there or 'none'}")

    def numbered(self) -> tuple[Numbered, ...]:
        """Return what is asked now."""
        found = (
            Numbered(self._numbers[key], question, self.answers.get(key))
            for key, question in self.questions.items()
        )
        return tuple(sorted(found, key=lambda one: one.number))


def numbered(
    asked: Asked, given: Sequence[tuple[int, str]], kept: Mapping[str, Kept] | None = None
) -> tuple[Numbered, ...]:
    """Return the questions of a draft after its answers.

    given: answers by number, in the order in which they were given.
    kept:  by key, from an earlier draft; an answer to a question that is asked no more is left.

    Raises:
        DraftError: there is no such question, or an answer is none.
    """
    before = kept or {}
    listed = _Listed(asked, before)
    while new := [
        key
        for key in listed.questions
        if key not in listed.answers and before.get(key, Kept(0)).answer
    ]:
        listed.answer(new[0], before[new[0]].answer)
    for number, value in given:
        listed.answer(listed.key(number), value)
    return listed.numbered()
