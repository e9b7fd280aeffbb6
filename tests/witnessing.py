"""What several tests ask of a node among its witnesses."""

import shutil

from experiments.ordering import sign
from federation.envelopes import parse
from federation.messages import Kind
from federation.riding import pack
from tests.simulator import (
    CN,
    EU,
    KEYHOLDER,
    KEYHOLDERS,
    OTHER_SHOP,
    SHOP,
    US,
)

ENOUGH = (EU, US, KEYHOLDER, SHOP, OTHER_SHOP, KEYHOLDERS[1])
"""A quorum of the ten other organisations that witness a warehouse."""


def offered(simulation, order, party=CN, **blobs):
    """What a node that has just come up answers to an offer."""
    wire = sign(simulation.home, order)
    letter = simulation.letter(Kind.OFFER, party, order.id, order=wire, **blobs)
    return simulation.read(simulation.started(party).answer(letter))


def words(simulation, *witnesses, about=CN, nonce=None, **said):
    """The blob with what witnesses last saw of a party's ledger."""
    nonce = nonce or simulation.started(about)._witnessing.nonce
    return pack({w: simulation.word(w, about, nonce, **said) for w in witnesses})


def spent(simulation, party=CN):
    return simulation.account(party)


def put_back(simulation, party, copy):
    simulation.kill(party)
    folder = simulation.home.node(party)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)


def round_with(simulation, order, **blobs):
    weights = parse(simulation.round(CN, order)).blobs["weights"]
    letter = simulation.letter(Kind.TRAIN_ROUND, CN, order.id, 0, weights=weights, **blobs)
    return simulation.read(simulation.started(CN).answer(letter))
