"""A joint question to a node, for several tests."""

import sqlite3
from dataclasses import replace

from secure_compute.threshold.listing import Commitment
from secure_compute.threshold.memory import party_from_bytes
from tests.asked import FOUR
from tests.simulator import CN, EU

GONE = "answers.sqlite*"


def width(order):
    from federation.queries import sensitivity
    from federation.tasks import QueryTask

    return sensitivity.width(QueryTask.from_json(order.parameters).plan)


def state(simulation, party=CN):
    with sqlite3.connect(simulation.folder(party) / "answers.sqlite") as db:
        return party_from_bytes(bytes(db.execute("SELECT state FROM party").fetchone()[0]))


def releases(simulation, party=CN):
    account = simulation.account(party, "orders")
    return 0 if account is None else account.releases


def smaller(asked):
    return [asked.commitments[party] for party in FOUR[:3]]


def twofold(asked):
    """The list of the same parties after one of them committed a second time, to another answer."""
    said = Commitment.read(asked.commitments[EU])
    again = replace(said, chunks=tuple("ab" * 32 for _ in said.chunks))
    signed = again.signed(asked.simulation.key(EU).sign).to_bytes()
    return [*(asked.commitments[party] for party in FOUR if party != EU), signed]
