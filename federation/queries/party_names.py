"""Whether an expression tells parties apart by their names, whatever column it looks into.

A text that a query compares with is read word by word, without case and signs: `Warehouse_CN` and
`warehouse-cn berlin` name warehouse-cn. A prefix names those parties whose names begin with it; one
that all of them share tells nobody apart.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from federation.membership import Member
from federation.queries.cohort import MINIMUM_ORGANISATIONS
from federation.queries.expressions import Call, Expression, Literal


def singles_out(expression: Expression, cohort: Sequence[Member]) -> frozenset[str]:
    """Return the organisations that a text of the expression names; none where it hides them."""
    found: set[str] = set()
    for text, is_prefix in _texts(expression):
        meant = {member.organisation for member in cohort if _names(text, member, is_prefix)}
        if not is_prefix or len(meant) < MINIMUM_ORGANISATIONS:
            found |= meant
    return frozenset(found)


def names_a_party(text: str, cohort: Sequence[Member]) -> bool:
    """Return whether a text of SQL, or a pattern that ends in %, names a party of the cohort."""
    return any(_names(text.removesuffix("%"), member, text.endswith("%")) for member in cohort)


def _texts(expression: Expression) -> Iterator[tuple[str, bool]]:
    """Yield every text of an expression, and whether it is a prefix that is looked for."""
    match expression:
        case Literal("text", text):
            yield text, False
        case Call("starts_with", (inner, Literal("text", text))):
            yield text, True
            yield from _texts(inner)
        case Call(_, arguments):
            for part in arguments:
                yield from _texts(part)


def _names(text: str, member: Member, is_prefix: bool) -> bool:
    told = _words(text)
    for name in (_words(str(member.party)), _words(member.organisation)):
        if name and told[: len(name)] == name:
            return True
        if is_prefix and told and " ".join(name).startswith(" ".join(told)):
            return True
    return False


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.findall(r"[^\W_]+", plain)
