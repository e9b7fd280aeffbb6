"""A node's policy folder on disk: its law, where it holds, and what its packs say."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.books import Books
from clients.exports import Left, Tally, counted
from clients.policy import PACK_NAME, load_packs, load_policy
from clients.settings import NodeSettings, load_settings, read_text
from experiments.errors import UsageError
from experiments.files import write as write_file
from experiments.outcome import Language
from experiments.policy_words import said
from federation.ledger.notes import origin_of
from policies import card, cases, situations
from policies.contracts import DataContract
from policies.engine import Law
from policies.exports import Count
from policies.law.bundle import law_text, territory_rules
from policies.law.filling import fingerprint
from policies.law.packs import Export, load_pack
from policies.parties import Jurisdiction

DAY: Final = 86400
_WRITTEN_FROM: Final = re.compile(r"^// ([0-9a-f]{64})\. Reviewed by", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Folder:
    """A policy folder, and the node around it where there is one."""

    policy: Path
    settings: NodeSettings | None

    @property
    def law(self) -> Law:
        """The law in the folder."""
        return load_policy(self.policy)

    @property
    def jurisdiction(self) -> Jurisdiction:
        """Where the law holds: as the node says, else as the names of the texts say.

        Raises:
            UsageError: neither says it.
        """
        if self.settings is not None:
            return self.settings.jurisdiction
        names = {path.stem.upper() for path in self.policy.glob("*.cedar")}
        found = [place for place in Jurisdiction if place.value in names]
        if not found:
            raise UsageError(f"{self.policy} has no text of a territory, such as eu.cedar")
        return max(found, key=lambda place: len(place.value))

    def other_editions(self) -> tuple[str, ...]:
        """Return the texts that were not written from the packs in force."""
        known = {fingerprint(pack) for pack in load_packs(self.policy).values()}
        found = []
        for path in sorted(self.policy.glob("*.cedar")):
            written = _WRITTEN_FROM.findall(path.read_text(encoding="utf-8"))
            is_territory = path.stem.upper() in {place.value for place in Jurisdiction}
            if is_territory and not (written and set(written) <= known):
                found.append(path.name)
        return tuple(found)


def open_folder(folder: Path) -> Folder:
    """Return the policy of a node's folder, or of a policy folder by itself."""
    if (folder / "node.toml").exists():
        return Folder(folder / "policy", load_settings(folder))
    if (folder.parent / "node.toml").exists():
        return Folder(folder, load_settings(folder.parent))
    return Folder(folder / "policy" if (folder / "policy").is_dir() else folder, None)


def card_of(folder: Path) -> tuple[card.Card, tuple[str, ...]]:
    """Return the policy card of a node, and the texts that are of another edition.

    Raises:
        NodeSettingsError: it is no node's folder.
    """
    settings = load_settings(folder)
    found, contracts = open_folder(folder), settings.contracts()
    counted = count_so_far(settings, contracts)
    drawn = card.draw_up(
        settings.party,
        settings.jurisdiction,
        found.law,
        load_packs(found.policy),
        contracts.values(),
        None if counted is None else counted[1],
        int(time.time()) // DAY,
    )
    return drawn, found.other_editions()


def count_so_far(
    settings: NodeSettings, contracts: Mapping[str, DataContract]
) -> tuple[Export, Count] | None:
    """Return the people whose data left this year; None where the territory does not count."""
    origin = origin_of(settings.federation, settings.party)
    books = Books.existing(settings.books, origin, settings.identity, time.time)
    tally = Tally() if books is None else Left(books)()
    return counted(
        settings.jurisdiction,
        contracts.values(),
        tally,
        int(time.time()),
        known=load_packs(settings.folder / "policy"),
    )


def export_warnings(settings: NodeSettings) -> list[str]:
    """Return what the operator should know about people whose data left; mostly nothing."""
    found = count_so_far(settings, settings.contracts())
    return [] if found is None else near(*found, "en")


def key_warnings(settings: NodeSettings) -> list[str]:
    """Return what the operator should know about contracts whose rows are never new."""
    return [
        said("no_key", "en", contract=name)
        for name, contract in settings.contracts().items()
        if not contract.opens_fresh_windows
    ]


def near(export: Export, count: Count, language: Language) -> list[str]:
    """Return the warnings of a count: close to the yearly number, or of unknown size."""
    lines = []
    if count.undeclared:
        lines.append(said("export_unknown", language, groups=", ".join(count.undeclared)))
    if count.percent_of(export) >= export.warn_percent:
        percent = count.percent_of(export)
        lines.append(said("export_near", language, percent=percent, warn=export.warn_percent))
    return lines


def write(folder: Path) -> tuple[Path, bool]:
    """Write the rules of a node's territory from its own pack; return the text, and if it is new.

    A node without a pack of its own gets a copy of the installed one, to be edited.

    Raises:
        UsageError: the folder cannot be written.
    """
    found = open_folder(folder)
    own, place = found.policy / PACK_NAME, found.jurisdiction
    if is_new := not own.exists():
        write_file(own, law_text(f"packs/{place.lower()}.toml").encode())
    pack = load_packs(found.policy)[load_pack(read_text(own)).jurisdiction]
    text = found.policy / f"{pack.jurisdiction.lower()}.cedar"
    write_file(text, territory_rules(pack).encode())
    load_policy(found.policy)
    return text, is_new


def tested(folder: Path, table: Path | None) -> tuple[cases.Outcome, ...]:
    """Return what a folder's law says to a table of cases: given, its own, or the shipped one.

    Raises:
        NodeSettingsError: the table is no UTF-8.
        MalformedCasesError: it says something unknown, or nothing.
    """
    found = open_folder(folder)
    own = found.policy / cases.NAME
    if table is None and own.exists():
        table = own
    text = cases.default_table() if table is None else read_text(table)
    listed = cases.load_cases(text, found.jurisdiction, int(time.time()) // DAY)
    return cases.run(listed, found.law)


def compared(old: Path, new: Path) -> situations.Difference:
    """Return the situations that a new policy judges otherwise than an old one.

    Raises:
        UsageError: the two hold in different territories.
    """
    one, two = open_folder(old), open_folder(new)
    if one.jurisdiction != two.jurisdiction:
        raise UsageError(
            f"{old} is the law of a node in {one.jurisdiction}, {new} of one in {two.jurisdiction}"
        )
    return situations.difference(one.law, two.law, one.jurisdiction, int(time.time()) // DAY)
