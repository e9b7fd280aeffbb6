"""What the terminal and the report say, in English and Chinese; the sentences are in words.toml."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final, get_args

from experiments.outcome import Language, Text

LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)


@cache
def catalogue() -> Mapping[str, Text]:
    """Return every sentence by id: `section.name`."""
    source = files("experiments").joinpath("words.toml").read_text("utf-8")
    return {
        f"{section}.{name}": Text(*pair)
        for section, sentences in tomllib.loads(source).items()
        for name, pair in sentences.items()
    }


def say(sentence: str, language: Language, **facts: object) -> str:
    """Return the sentence called `sentence`, with its facts.

    Raises:
        KeyError: there is no such sentence, or it needs a fact that is missing.
    """
    return catalogue()[sentence].spoken(language).format(**facts)


def name_of(section: str, name: str, language: Language) -> str:
    """Return what a role, kind or place is called, or the name itself if nothing is known."""
    known = catalogue().get(f"{section}.{name}")
    return name if known is None else known.spoken(language)


def score(value: float | None) -> str:
    """Return a score with three digits after the point, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def epsilon(value: float) -> str:
    """Return an epsilon: four digits where they say something, fewer where they do not."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def small(value: float) -> str:
    """Return a small number such as δ: 1e-6."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return "0" if value == 0 else f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def size(count: float) -> str:
    """Return a number of bytes in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def cell(value: object) -> str:
    """Return one value of an answer: numbers short, and grouped in thousands."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    digits = 0 if abs(value) >= 1000 else 2 if abs(value) >= 1 else 4
    return f"{value:,.{digits}f}"
