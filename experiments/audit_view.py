"""Ledgers on a terminal: one line an entry, and nothing in it that could pass for another."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text as Styled

from experiments.auditing import Shown
from experiments.outcome import Language
from experiments.telling import moment, plain, tell, title
from experiments.words import say

ORDER: int = 8
"""Hexadecimal digits of an order's id that are shown."""


def show_entries(logs: Sequence[Shown], language: Language) -> None:
    """Print the entries of every ledger, oldest first, below the name of its party."""
    console = Console()
    for log in logs:
        count = say("ledger.count", language, entries=log.size)
        heading = f"{log.party} · {count if log.here else say('ledger.absent', language)}"
        console.print(Styled(heading, style="bold"))
        for item in log.entries:
            entry = item.entry
            said = tell(entry.kind.value, entry.body, language)
            order = f"[{plain(entry.order[:ORDER])}] " if entry.order else ""
            kind = title(entry.kind.value, language)
            line = f"{item.number:>6}  {moment(entry.at)}  {kind:<16} {order}{said}"
            console.print(Styled(line), soft_wrap=True)
