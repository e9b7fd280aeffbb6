"""The judge of a node's folder, for people who look at what waits there.

Nothing is set aside and nothing is written: the node that runs judges by itself.
"""

import time

from clients.approvals import Approvals
from clients.books import Books
from clients.checking import sound
from clients.exports import Left
from clients.judgement import Judge
from clients.persons import Persons
from clients.questions import Questions
from clients.settings import NodeSettings
from federation.ledger.notes import origin_of


def judge_of(settings: NodeSettings) -> Judge:
    """Return the judge of the node in a folder, with the books as they stand.

    Raises:
        NodeSettingsError, PolicyError, FederationError, LocalProtocolError: see `checking.sound`.
    """
    found = sound(settings)
    books = books_of(settings)
    return Judge(
        settings,
        found.roster,
        found.contracts,
        found.law,
        books,
        Questions(settings.folder / "outbox.sqlite", found.roster),
        time.time,
        Left(books),
        found.packs,
        Persons(settings, Approvals(settings.folder), books),
    )


def books_of(settings: NodeSettings) -> Books:
    """Return the node's books, into whose log its people's words are written."""
    origin = origin_of(settings.federation, settings.party)
    members = settings.roster().members
    return Books(
        settings.books,
        origin,
        settings.identity,
        time.time,
        {origin_of(settings.federation, m.party): m.organisation for m in members},
    )
