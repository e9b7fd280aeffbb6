"""A member looks at who asks to be let in, and lets them in: `entrepot node admit`.

Who lost its identity key asks in the same way, and is shown with both keys.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.admitting import Asked, admit, calls_of, requests
from clients.calling import MemberCalls
from clients.settings import NodeSettings, load_settings
from experiments.errors import UsageError
from experiments.telling import plain
from federation.membership import Roster


@dataclass(frozen=True, slots=True)
class Hall:
    """Who waits, as one member sees it."""

    settings: NodeSettings
    calls: MemberCalls
    asked: tuple[Asked, ...]
    roster: Roster

    def find(self, party: str) -> Asked:
        """Return the request of `party`.

        Raises:
            UsageError: it does not ask.
        """
        for one in self.asked:
            if one.member.party == party:
                return one
        names = ", ".join(one.member.party for one in self.asked) or "nobody"
        raise UsageError(f"{party!r} does not ask to be let in; those who do: {names}")

    def admit(self, asked: Asked) -> None:
        """This member's word lets the party in; errors: `clients.admitting.admit`."""
        admit(self.settings, asked, self.roster, self.calls)


def hall(folder: Path) -> Hall:
    """Return who asks to be let in; errors: `clients.admitting.requests`."""
    settings = load_settings(folder)
    calls = calls_of(settings)
    asked, roster = requests(settings, calls)
    return Hall(settings, calls, asked, roster)


def shown(asked: Asked) -> dict[str, Any]:
    """Return one request for `--json`."""
    member = asked.member
    return {
        "party": member.party,
        "organisation": member.organisation,
        "role": member.role.value,
        "jurisdiction": member.jurisdiction.value,
        "identity": member.identity.hex,
        "before": None if asked.before is None else asked.before.identity.hex,
        "card": asked.enrolment.card,
        "words": list(asked.words),
        "signed": [party for party in asked.signed if party != member.party],
        "needed": asked.needed,
    }


def spoken(asked: Asked) -> str:
    """Return one request as a person reads it."""
    one = shown(asked)
    let = ", ".join(one["signed"]) or "nobody yet"
    return (
        f"{plain(one['party'])}: {plain(one['organisation'])} "
        f"({one['role']}, {one['jurisdiction']})\n"
        f"  words  {' '.join(one['words'])}\n"
        f"{_keys(asked)}"
        f"  {'let in' if asked.before is None else 'signed'} by {let}; "
        f"{one['needed']} organisations must"
    )


def question(asked: Asked) -> str:
    """Return what a person is asked before this member's word is given."""
    party = asked.member.party
    if asked.before is None:
        return f"Does {party}'s operator read the same words, and do you let it in?"
    return (
        f"Do you know that {party} has lost its identity key, from somebody of it whom you know, "
        "and does that operator read the same words? The old key signs nothing more then. Sign?"
    )


def _keys(asked: Asked) -> str:
    if asked.before is None:
        return ""
    return (
        "  IS A MEMBER, and asks for another identity key, its own being lost or stolen\n"
        f"  key until now  {asked.before.identity.hex}\n"
        f"  key asked for  {asked.member.identity.hex}\n"
    )
