"""Every function that reads what came from outside the process, and bytes that it reads.

A parser is listed under the names of all functions that its bytes go through, by module. Where a
signature would hide the rest, the bytes are signed again first, as a member that lies would.
"""

from tests.parsers import (
    agreement,
    joins,
    keys,
    law,
    ledgers,
    matches,
    questions,
    recipes,
    shells,
    sums,
)
from tests.parsers.making import REFUSALS as REFUSALS
from tests.parsers.making import Parser as Parser


def parsers() -> tuple[Parser, ...]:
    """Return all of them."""
    groups = (law, agreement, joins, recipes, questions, ledgers, sums, keys, matches, shells)
    return tuple(parser for group in groups for parser in group.parsers())
