"""The draft of one table: how a source's columns come to be those of a contract, and what is asked.

The same profile and the same answers give the same draft. A column is taken without a question only
where its whole name says which it is, and its values can be read in one way alone. The contract is
the federation's: nothing here changes a bound, a list, a type or a grade of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, cast
from zoneinfo import ZoneInfo

from clients.drafts import units
from clients.drafts.fitting import (
    are_names,
    codes,
    fits,
    is_id,
    numbers,
    outside,
    readings,
    unknown,
)
from clients.drafts.meaning import GUESS, code_of, guess_code, is_called, is_currency, likeness
from clients.drafts.profile import Profile, Seen
from clients.drafts.questions import Question
from clients.sources.converting import moment_of
from clients.sources.mapped import Form, Mark, Twice, Way
from policies.contracts import Column, DataContract

NONE: Final = "none"
MISSING: Final = "missing"
CLIP: Final = "clip"
UTC_NAME: Final = "UTC"
MOST_ASKED: Final = 60
"""Codes of one column that are asked about; who has more writes them into node.toml."""
_ISO: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    r"(?:Z|[+-][0-9]{2}(?::[0-9]{2})?)?)?",
    re.ASCII,
)
_BARE: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_PLACES: Final = ("DECIMAL", "NUMERIC", "DOUBLE", "FLOAT", "REAL")
_SPELT: Final = {".": "1,234.56", ",": "1.234,56", None: "1234.56"}


@dataclass(frozen=True, slots=True)
class Mapped:
    """One column of the contract: from which of the source's, and how; None where from none."""

    column: Column
    seen: Seen | None
    way: Way | None


@dataclass(slots=True)
class _Asking:
    """Collects the questions about one table, and knows the answers that were given."""

    answers: Mapping[str, str]
    questions: list[Question] = field(default_factory=list)

    def ask(self, question: Question) -> str | None:
        """Ask, and return the answer; None while there is none."""
        self.questions.append(question)
        return self.answers.get(question.key)


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known so far. questions: every doubt, answered or not."""

    contract: DataContract
    profile: Profile
    mapped: tuple[Mapped, ...]
    questions: tuple[Question, ...]

    @property
    def ways(self) -> dict[str, Way]:
        """How columns come from others, for `[sources]`: those that are not simply there."""
        return {
            one.column.name: one.way
            for one in self.mapped
            if one.way is not None and one.way != Way(source=one.column.name)
        }

    @property
    def left(self) -> tuple[str, ...]:
        """The columns of the source that nothing is taken from."""
        taken = {name for one in self.mapped if one.way for name in one.way.sources}
        taken |= {one.seen.name for one in self.mapped if one.seen}
        return tuple(name for name in self.profile.columns if name not in taken)


def draft(
    contract: DataContract,
    profile: Profile,
    answers: Mapping[str, str],
    home: str = UTC_NAME,
) -> Draft:
    """Return the draft with these answers, by the keys of its questions.

    home: the time zone that is proposed for moments that name none.
    """
    asking = _Asking(answers)
    chosen = {
        column.name: _chosen(column, contract, profile, asking) for column in contract.columns
    }
    mapped = []
    for column in contract.columns:
        seen = chosen[column.name]
        way = None if seen is None else _way(column, seen, profile, home, asking)
        mapped.append(Mapped(column, seen, way))
    return Draft(contract, profile, tuple(mapped), tuple(asking.questions))


def fitness(contract: DataContract, profile: Profile) -> tuple[int, int]:
    """Return how many columns that the contract needs are there by name, and how many it needs."""
    needed = [column for column in contract.columns if not column.optional]
    return sum(len(_named(column, profile)) == 1 for column in needed), len(needed)


# -- which column ----------------------------------------------------------------------------------


def _named(column: Column, profile: Profile) -> list[Seen]:
    """Return the columns whose whole name says that they are this one."""
    exact = profile.columns.get(column.name)
    if exact is not None:
        return [exact]
    return [seen for name, seen in profile.columns.items() if is_called(column.name, name)]


def _chosen(
    column: Column, contract: DataContract, profile: Profile, asking: _Asking
) -> Seen | None:
    named = _named(column, profile)
    if len(named) == 1 and fits(column, named[0]):
        return named[0]
    others = {seen.name for other in contract.columns for seen in _named(other, profile)}
    free = [s for s in profile.columns.values() if s in named or s.name not in others]
    could = [seen for seen in free if fits(column, seen)]
    if column.optional and not could:
        return None
    could.sort(
        key=lambda seen: (-likeness(column.name, seen.name), _strange(column, seen), seen.name)
    )
    taken = [s for s in profile.columns.values() if s not in could and fits(column, s)]
    answer = asking.ask(_which(column, named, could, sorted(seen.name for seen in taken)))
    return profile.columns[answer] if answer not in (None, NONE) else None


def _strange(column: Column, seen: Seen) -> bool:
    """Whether most codes of a column are not among those of the contract."""
    return 2 * len(unknown(column, seen)) > len(seen.values)


def _which(
    column: Column, named: Sequence[Seen], could: Sequence[Seen], taken: Sequence[str]
) -> Question:
    best = next((s.name for s in could if likeness(column.name, s.name) >= GUESS), None)
    if column.optional:
        best = best or NONE
    kind = f"{column.type}" + (f", one of {', '.join(codes(column))}" if codes(column) else "")
    asks = f"which column is {column.name} ({kind})?"
    if len(named) == 1:
        asks += f" {named[0].name} is called so, and its values cannot be read so"
    elif named:
        asks += f" {' and '.join(seen.name for seen in named)} are called so"
    if not could and not taken:
        asks += "; no column of this source can be read so: add one in a view or another export"
    elif best is None:
        asks += "; if it is none of these, add one in a view or another export"
    choices = (*(seen.name for seen in could), *taken, *((NONE,) if column.optional else ()))
    return Question(f"column:{column.name}", asks, best, tuple(choices))


# -- how its values are read -----------------------------------------------------------------------


def _way(column: Column, seen: Seen, profile: Profile, home: str, asking: _Asking) -> Way | None:
    """Return how the values are read; None while that depends on an answer."""
    if codes(column):
        return _coded(column, seen, asking)
    if is_id(column) and are_names(seen):
        return Way(source=seen.name, ids="text")
    match column.type:
        case "float" | "integer":
            return _numeric(column, seen, profile, asking)
        case "date" | "timestamp":
            return _temporal(column, seen, home, asking)
        case _:
            return Way(source=seen.name)


def _coded(column: Column, seen: Seen, asking: _Asking) -> Way | None:
    known = codes(column)
    found = {value: code_of(column.name, known, value) for value in seen.values}
    strange = unknown(column, seen)
    if len(strange) > MOST_ASKED:
        asks = (
            f"{seen.name} has {len(strange)} codes that no list knows, too many to ask for each: "
            f"write them as codes of {column.name} into node.toml, or translate them in a view"
        )
        asking.ask(Question(f"codes:{column.name}", asks, None))
        return None
    is_open = False
    for value in strange:
        guess = guess_code(column.name, known, value)
        asks = f"{seen.name}: what is {value!r} ({seen.values[value]} rows)?"
        key = f"code:{column.name}:{value}"
        answer = asking.ask(Question(key, asks, guess, (*known, MISSING)))
        is_open = is_open or answer is None
        found[value] = None if answer == MISSING else answer
    if is_open:
        return None
    if all(value == meant for value, meant in found.items()):
        return Way(source=seen.name)
    return Way(source=seen.name, codes={v: meant for v, meant in found.items() if meant})


def _numeric(column: Column, seen: Seen, profile: Profile, asking: _Asking) -> Way | None:
    is_sure, mark = _mark(column, seen, asking)
    if not is_sure:
        return None
    if not units.has_unit(column):
        way: Way | None = Way(source=seen.name, decimal=mark)
    else:
        way = _measured(column, seen, mark, profile, asking)
    return None if way is None else _bounded(column, seen, way, asking)


def _mark(column: Column, seen: Seen, asking: _Asking) -> tuple[bool, Mark | None]:
    marks = readings(column, seen).marks
    if len(marks) == 1:
        return True, marks[0] or (None if _is_bare(column, seen) else ".")
    spelt = {_SPELT[mark]: mark for mark in marks}
    asks = f"{seen.name}: how are its numbers written? All can be read in {len(marks)} ways"
    answer = asking.ask(Question(f"decimal:{column.name}", asks, None, tuple(spelt)))
    return answer is not None, spelt.get(answer or "")


def _is_bare(column: Column, seen: Seen) -> bool:
    """Whether a plain cast reads the values; a database gives no number with places as a whole."""
    if seen.is_number:
        return column.type == "float" or not any(word in seen.type.upper() for word in _PLACES)
    return all(_BARE.fullmatch(text) for text in seen.values)


def _measured(
    column: Column, seen: Seen, mark: Mark | None, profile: Profile, asking: _Asking
) -> Way | None:
    currency = _currency(profile) if units.is_money(column) else None
    named = "" if currency is None else currency.name
    said = None if named else units.said_by_name(column, seen.name)
    counted = [(number, seen.values[text]) for text, number in numbers(seen, mark).items()]
    answer = said or asking.ask(units.question(column, seen.name, counted, named))
    if answer is None:
        return None
    found = units.measured(column, answer, named)
    way = Way(source=seen.name, decimal=mark, times=found.times)
    if currency is not None and answer.removesuffix(units.HUNDREDTH) == named:
        return _by_currency(column, way, currency, asking)
    if not found.currency:
        return way
    rate = _rate(column, found.currency, (), asking)
    return (
        None
        if rate is None
        else Way(source=way.source, decimal=way.decimal, times=way.times, rate=Decimal(rate))
    )


def _by_currency(column: Column, way: Way, currency: Seen, asking: _Asking) -> Way | None:
    rates: dict[str, Decimal] = {}
    is_open = False
    for code in sorted(currency.values):
        if code == column.unit:
            rates[code] = Decimal(1)
            continue
        rate = _rate(column, code, (MISSING,), asking)
        is_open = is_open or rate is None
        if rate not in (None, MISSING):
            rates[code] = Decimal(rate)
    if is_open or not rates:
        return None
    return Way(
        source=way.source,
        decimal=way.decimal,
        times=way.times,
        currency=currency.name,
        rates=rates,
    )


def _rate(column: Column, code: str, more: tuple[str, ...], asking: _Asking) -> str | None:
    asks = (
        f"{column.name}: what is one {code} in {column.unit}, by the fixed rate that you state? "
        "Amounts are rounded to cents, half to even"
    )
    return asking.ask(Question(f"rate:{column.name}:{code}", asks, None, more, "rate"))


def _currency(profile: Profile) -> Seen | None:
    """Return the column that names each row's currency; None where there is none, or two."""
    found = [seen for name, seen in profile.columns.items() if is_currency(name) and seen.values]
    return found[0] if len(found) == 1 and found[0].is_whole else None


def _bounded(column: Column, seen: Seen, way: Way, asking: _Asking) -> Way | None:
    """Ask whether what lies outside of the bounds should be clipped, where anything does."""
    if way.currency or way.rate is not None:
        return way
    times = way.times or Decimal(1)
    counted = [(n * times, seen.values[text]) for text, n in numbers(seen, way.decimal).items()]
    over, rows = outside(column, counted), sum(count for _, count in counted)
    if not over:
        return way
    asks = (
        f"{seen.name}: of {rows} rows looked at, {over} lie outside {column.low}…{column.high} and "
        f"would be clipped into it; is this the column, and its unit?"
    )
    return way if asking.ask(Question(f"bounds:{column.name}", asks, CLIP, (CLIP,))) else None


def _temporal(column: Column, seen: Seen, home: str, asking: _Asking) -> Way | None:
    form = _form(column, seen, asking)
    if form is None:
        return None
    found = [moment for text in seen.values if (moment := moment_of(text, form)) is not None]
    spelt = None if form == "ymd" and not _is_odd(column, seen) else form
    naive = [moment for moment in found if moment.tzinfo is None]
    if column.type == "date" or form.startswith("epoch") or (found and not naive):
        return Way(source=seen.name, form=spelt)
    return _zoned(column, seen, spelt, naive, home, asking)


def _zoned(
    column: Column,
    seen: Seen,
    spelt: Form | None,
    naive: Sequence[datetime],
    home: str,
    asking: _Asking,
) -> Way | None:
    asks = f"{seen.name}: in which time zone are its moments? They do not say it themselves"
    zones = tuple(dict.fromkeys((home, UTC_NAME, "Asia/Shanghai")))
    zone = asking.ask(Question(f"zone:{column.name}", asks, home, zones, "zone"))
    if zone is None:
        return None
    if zone == UTC_NAME or not _has_summer(zone, naive):
        return Way(source=seen.name, form=spelt, zone="" if zone == UTC_NAME else zone)
    asks = (
        f"{seen.name}: which is meant of the hour that clocks of {zone} show twice in autumn? "
        f"They are missing unless you say"
    )
    twice = asking.ask(
        Question(f"twice:{column.name}", asks, MISSING, ("first", "second", MISSING))
    )
    if twice is None:
        return None
    meant = None if twice == MISSING else cast("Twice", twice)
    return Way(source=seen.name, form=spelt, zone=zone, twice=meant)


def _form(column: Column, seen: Seen, asking: _Asking) -> Form | None:
    forms = readings(column, seen).forms
    if not seen.values:
        return "ymd"
    if len(forms) == 1:
        return forms[0]
    asks = f"{seen.name}: in which order stand year, month and day? All can be read in both"
    answer = asking.ask(Question(f"form:{column.name}", asks, forms[0], forms))
    return cast("Form | None", answer)


def _is_odd(column: Column, seen: Seen) -> bool:
    """Whether a plain cast might not read the values as `ymd` does, or a database not give them."""
    is_day = column.type == "date"
    return not all(_ISO.fullmatch(text) and (len(text) == 10) == is_day for text in seen.values)


def _has_summer(zone: str, moments: Sequence[datetime]) -> bool:
    """Whether clocks of a zone were set within the years of some moments."""
    years = [moment.year for moment in moments] or [datetime.now(UTC).year]
    first = datetime(min(years), 1, 1, tzinfo=UTC)
    days = [first + timedelta(days=n) for n in range((max(years) - min(years) + 1) * 366)]
    clock = ZoneInfo(zone)
    return len({day.astimezone(clock).utcoffset() for day in days}) > 1


def remarks(found: Draft) -> Iterator[str]:
    """Yield what the operator should know of the rows, as far as a profile shows it."""
    contract = found.contract
    by_name = {one.column.name: one.seen for one in found.mapped}
    for name in dict.fromkeys((*contract.unit.columns, *contract.key)):
        seen = by_name.get(name)
        if seen is not None and seen.missing:
            yield f"{seen.name}: {seen.missing} of {seen.rows} rows have no {name}"
    if len(contract.key) == 1 and (seen := by_name.get(contract.key[0])) is not None:
        double = seen.rows - seen.missing - seen.distinct
        if double > 0:
            yield f"{seen.name}: {double} rows bear a {contract.key[0]} that another row bears"
    people = by_name.get(contract.unit.columns[0]) if len(contract.unit.columns) == 1 else None
    if people is not None and people.distinct > (contract.persons or people.distinct):
        yield (
            f"{people.name}: the table has more people than the {contract.persons} that the "
            f"contract declares; write a higher number of persons into it"
        )
