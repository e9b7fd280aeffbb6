"""`entrepot node contract draft`: from a partner's table to `[sources]` and a contract.

The rows are read here, on the operator's machine, and nothing is sent. The contract is the one that
the federation published, or the node's own where it has one: a draft changes no bound of it. What
is written is written only when nothing is asked any more, and after the table was read so once.
"""

import csv
import os
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

import tomli_w

from clients.drafts.draft import Draft, draft, fitness, remarks
from clients.drafts.profile import Profile, profile
from clients.drafts.questions import Kept, Numbered, Question, numbered
from clients.settings import NodeSettings, load_settings
from clients.snapshots import read, whole
from clients.sources.declared import DELIMITERS, Database, File, Source, place_of, sources_of
from clients.sources.wanted import nearest, wanted_of
from clients.tables import conform_table
from experiments.errors import UsageError
from experiments.files import make_folder
from experiments.files import write as write_file
from experiments.ordering import published_contracts
from federation.offers import OFFERED_BY
from policies.contracts import DataContract
from policies.parties import Jurisdiction

HOMES: Final[Mapping[Jurisdiction, str]] = {
    Jurisdiction.CN: "Asia/Shanghai",
    Jurisdiction.EU: "Europe/Berlin",
    Jurisdiction.UK: "Europe/London",
    Jurisdiction.CH: "Europe/Zurich",
    Jurisdiction.BR: "America/Sao_Paulo",
    Jurisdiction.US: "America/New_York",
    Jurisdiction.US_CA: "America/Los_Angeles",
}
"""The time zone that is proposed, and always asked about, where moments name none."""

CAUTIOUS: Final = {"epsilon": "1", "delta": "0.000001"}
"""The limit that is proposed where the node has none for these people."""

FOLDER: Final = "drafts"
ABOUT: Final = (
    "A draft: nothing reads it but the command that wrote it. Write an answer behind each question "
    "and draft the same source again, or answer there."
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants drafted.

    source:   a file, a table that `[sources]` names, or the URL of a database
    contract: the contract's name; "" for the one that fits best
    answers:  by the numbers of questions, in the order in which they were given
    """

    source: str
    contract: str = ""
    node: Path | None = None
    relation: str = ""
    password: str = ""
    answers: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class Drafted:
    """A draft and what would be written.

    place:    the words of `[sources]` that say where the rows are; none where node.toml has them
    rows:     how many rows the table has, read so; None while anything is asked
    limit:    what the contract's account may ever spend; None where the node has the contract
    """

    draft: Draft
    questions: tuple[Numbered, ...]
    place: Mapping[str, str]
    limit: Mapping[str, str] | None
    rows: int | None = None
    remarks: tuple[str, ...] = ()
    wish: Wish = field(default_factory=lambda: Wish(""))

    @property
    def open(self) -> int:
        """How many questions have no answer."""
        return sum(one.answer is None for one in self.questions)

    @property
    def name(self) -> str:
        """The contract's."""
        return self.draft.contract.name

    @property
    def source_text(self) -> str:
        """What belongs at the end of node.toml."""
        ways = {name: way.to_toml() for name, way in self.draft.ways.items()}
        table = {**self.place, **({"columns": ways} if ways else {})}
        return tomli_w.dumps({"sources": {self.draft.contract.table: table}}) if table else ""

    @property
    def contract_text(self) -> str:
        """The contract's file; "" where the node has it already."""
        if self.limit is None:
            return ""
        found = files("experiments") / "parties" / "contracts" / f"{self.name}.toml"
        return Template(found.read_text(encoding="utf-8")).substitute(self.limit)


def drafted(wish: Wish) -> Drafted:
    """Read the rows of a source, and return what they would be in the federation's words.

    Raises:
        UsageError: there is no such contract or source, or the node's role does not offer it.
        DraftError: an answer is none.
        SourceError, UnreachableSourceError, NodeSettingsError: the rows cannot be read.
    """
    settings = load_settings(wish.node) if wish.node else None
    folder = settings.folder if settings else Path.cwd()
    place, words = _place(wish, settings, folder)
    with tempfile.TemporaryDirectory(prefix="draft-") as name:
        work = Path(name)
        work.chmod(0o700)
        raw, types = whole(place, folder, work)
        seen = profile(raw, work, types)
        contract, limit = _contract(wish, settings, seen)
        found = _answered(wish, settings, contract, limit, seen, words)
        return found if found.open else _tried(found, place, folder, work)


def write(found: Drafted, settings: NodeSettings) -> list[Path]:
    """Write the mapping and the contract into the node's folder, or the draft while it is open.

    Raises:
        UsageError: something of it is there already, or cannot be written.
    """
    kept = _kept_path(settings, found.name)
    if found.open:
        make_folder(kept.parent)
        _private(kept, _open_text(found))
        return [kept]
    table = found.draft.contract.table
    if found.place and table in settings.sources:
        raise UsageError(
            f"node.toml says already where {table} lies: draft {table} itself to say how it is "
            f"read, or take it away there"
        )
    node = settings.folder / "node.toml"
    text = node.read_text(encoding="utf-8")
    joined = f"{text.rstrip()}\n\n{found.source_text}"
    sources_of(tomllib.loads(joined).get("sources", {}), settings.folder)
    written = []
    if found.contract_text:
        path = settings.folder / "contract" / f"{found.name}.toml"
        make_folder(path.parent)
        write_file(path, found.contract_text.encode())
        written.append(path)
    if found.source_text:
        _private(node, joined, node.stat().st_mode & 0o777)
        written.append(node)
    kept.unlink(missing_ok=True)
    return written


# -- what is drafted -------------------------------------------------------------------------------


def _place(
    wish: Wish, settings: NodeSettings | None, folder: Path
) -> tuple[Database | File, dict[str, str]]:
    """Return where the rows are, and the words that node.toml lacks of it."""
    if settings and wish.source in settings.sources:
        declared = settings.sources[wish.source]
        if declared.ways:
            raise UsageError(
                f"node.toml says already how {wish.source} is read; take its columns away there, "
                f"then draft it anew"
            )
        return declared.place, {}
    if "://" in wish.source:
        words = {"url": wish.source, "relation": wish.relation, "password": wish.password}
    else:
        path = Path(wish.source)
        if not path.is_file():
            known = ", ".join(settings.sources) if settings else ""
            raise UsageError(
                f"{wish.source} is no file and no table of [sources]"
                + (
                    f", which names {known}"
                    if known
                    else "; name a .csv or .parquet file, or a URL"
                )
            )
        words = {"file": str(path.resolve()), "delimiter": _delimiter(path)}
    words = {name: text for name, text in words.items() if text}
    return place_of(words, folder, "the source"), words


def _delimiter(path: Path) -> str:
    """Return what stands between the names in a CSV file's first line; "" for a comma."""
    if path.suffix != ".csv":
        return ""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        line = file.readline()
    counts = {mark: len(next(csv.reader([line], delimiter=mark), [])) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: counts[mark])
    return "" if best == "," else best


def _contract(
    wish: Wish, settings: NodeSettings | None, seen: Profile
) -> tuple[DataContract, dict[str, str] | None]:
    """Return the contract, and the limit that it lacks; None where the node has it."""
    own = settings.contracts() if settings else {}
    known = {**published_contracts(), **own}
    if settings:
        known = {n: c for n, c in known.items() if settings.role in OFFERED_BY.get(n, ())}
    if wish.contract and wish.contract not in known:
        who = f" that a {settings.role} offers" if settings else ""
        raise UsageError(
            f"there is no contract {wish.contract}{who}{nearest(wish.contract, sorted(known))}; "
            f"there are {', '.join(sorted(known))}"
        )
    contract = known[wish.contract] if wish.contract else _likely(known.values(), seen)
    if contract.name in own:
        return contract, None
    for other in own.values():
        if other.subjects == contract.subjects:
            return contract, {"epsilon": str(other.limit.epsilon), "delta": str(other.limit.delta)}
    return contract, {}


def _likely(known: Any, seen: Profile) -> DataContract:
    """Return the contract of which the source names most columns.

    Raises:
        UsageError: it names too few of any, or as many of two.
    """
    shares: dict[str, tuple[float, DataContract]] = {}
    for contract in known:
        there, needed = fitness(contract, seen)
        shares[contract.name] = (there / needed, contract)
    ranked = sorted(shares.values(), key=lambda one: (-one[0], one[1].name))
    if not ranked or ranked[0][0] < 0.5 or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        raise UsageError(
            f"the names of {seen.spoken} do not say which contract it is for; say --for "
            f"{'|'.join(sorted(shares))}"
        )
    return ranked[0][1]


def _answered(
    wish: Wish,
    settings: NodeSettings | None,
    contract: DataContract,
    limit: dict[str, str] | None,
    seen: Profile,
    words: Mapping[str, str],
) -> Drafted:
    home = HOMES.get(settings.jurisdiction, "UTC") if settings else "UTC"
    make = partial(draft, contract, seen, home=home)
    asks_limit = limit == {}

    def asked(answers: Mapping[str, str]) -> tuple[Question, ...]:
        more = _limit_questions(contract) if asks_limit else ()
        return (*make(answers).questions, *more)

    questions = numbered(asked, wish.answers, _kept(settings, contract.name, wish.source))
    answers = {one.question.key: one.answer for one in questions if one.answer is not None}
    found = make(answers)
    if asks_limit:
        limit = {name: answers.get(f"limit:{name}", text) for name, text in CAUTIOUS.items()}
    return Drafted(found, questions, words, limit, None, tuple(remarks(found)), wish)


def _limit_questions(contract: DataContract) -> tuple[Question, ...]:
    asks = {
        "epsilon": f"how much epsilon may ever be spent on the {contract.subjects} of one window? "
        "`entrepot node rehearse` shows what runs and questions ask for; a higher one is written "
        "into the contract",
        "delta": "at which delta is that epsilon read? Well below one over their number",
    }
    return tuple(
        Question(f"limit:{name}", asks[name], text, (text,), "number")
        for name, text in CAUTIOUS.items()
    )


def _tried(found: Drafted, place: Database | File, folder: Path, work: Path) -> Drafted:
    """Read the table as it would be read, and hold it to its contract.

    Raises:
        SourceError, NonConformantError: it is not what the contract promises.
    """
    contract, made = found.draft.contract, work / "made.parquet"
    source = Source(contract.table, place, {}, found.draft.ways)
    shaped = read(place, folder, wanted_of(source, [contract]), work, made)
    conform_table(contract, made)
    lost = tuple(
        f"{count} values of {column} cannot be read so, and count as missing"
        for column, count in shaped.lost.items()
    )
    return Drafted(
        found.draft,
        found.questions,
        found.place,
        found.limit,
        shaped.rows,
        (*found.remarks, *lost),
        found.wish,
    )


# -- what is kept of an open draft -----------------------------------------------------------------


def _kept_path(settings: NodeSettings, name: str) -> Path:
    return settings.folder / FOLDER / f"{name}.toml"


def _open_text(found: Drafted) -> str:
    asked = [
        {
            "number": one.number,
            "key": one.question.key,
            "asks": one.question.asks,
            "proposed": one.question.proposed or "",
            "choices": list(one.question.choices),
            "answer": one.answer or "",
        }
        for one in found.questions
    ]
    value = {"about": ABOUT, "source": found.wish.source, "contract": found.name}
    return tomli_w.dumps({**value, "questions": asked})


def _kept(settings: NodeSettings | None, name: str, source: str) -> dict[str, Kept]:
    """Return what an earlier draft of the same source had, by the keys of its questions.

    Raises:
        UsageError: somebody edited it into something else.
    """
    if settings is None or not (path := _kept_path(settings, name)).exists():
        return {}
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
        if value["source"] != source:
            return {}
        return {
            str(one["key"]): Kept(int(one["number"]), str(one["answer"]))
            for one in value["questions"]
        }
    except (ValueError, KeyError, TypeError) as why:
        raise UsageError(f"{path} is no draft any more; delete it and draft again") from why


def _private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that may hold codes of rows, or how a database is reached; whole or not at all.

    Raises:
        UsageError: it cannot be written there.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        new.replace(path)
    except OSError as why:
        raise UsageError(f"{path} cannot be written: {why.strerror}") from why
