"""Who tries to change a key that is not its own."""

import pytest

from clients.rotation import begin_identity
from clients.settings import load_settings
from experiments.founding import AGGREGATOR
from federation import at_rest
from federation.envelopes import Envelope, open_envelope, seal
from federation.errors import RolledBackError
from federation.messages import Kind
from federation.roster_chain import Rekey, change_statement, open_roster
from secure_compute import canonical
from secure_compute.errors import BadSignatureError
from tests.identity import covered, rotated, shows
from tests.rosters import key
from tests.simulator import CN
from tests.unit.roster.test_attacks import Attack, attack, fails  # noqa: F401  fixtures


def genuine(attack: Attack) -> bytes:  # noqa: F811  the fixture's value
    """The chain in which CN itself gives its key up for another one."""
    settings = load_settings(attack.simulation.folder(CN))
    begin_identity(settings)
    found = attack.simulation.node(CN)._rosters.rotating()
    assert found is not None
    return found


def swapped(chain: bytes, hex_key: str) -> bytes:
    links = canonical.decode(chain)
    links[-1]["statement"]["change"]["rekey"]["identity"] = hex_key
    return canonical.encode(links)


def test_it_swaps_the_new_key_or_leaves_a_signature_out(attack, fails):  # noqa: F811
    chain = genuine(attack)
    own = key("the aggregator's own")
    fails(swapped(chain, own.verify_key.hex), f"the key that {CN} has there")
    links = canonical.decode(chain)
    both = links[-1]["signatures"][CN]
    links[-1]["signatures"][CN] = both[:128]
    fails(canonical.encode(links), f"0 of 2 organisations signed for a new key of {CN}")
    links[-1]["signatures"][CN] = both[128:]
    fails(canonical.encode(links), f"the key that {CN} has there")
    links[-1]["statement"]["change"]["rekey"]["identity"] = own.verify_key.hex
    said = change_statement(attack.simulation.roster, Rekey(CN, own.verify_key))
    links[-1]["signatures"][CN] = own.sign(said).hex() + both[128:]
    fails(canonical.encode(links), f"the key that {CN} has there")
    links[-1]["signatures"][AGGREGATOR] = attack.keys[AGGREGATOR].sign(said).hex()
    links[-1]["signatures"][CN] = own.sign(said).hex()
    fails(canonical.encode(links), f"0 of 2 organisations signed for a new key of {CN}")


def test_it_replays_a_change_of_key_and_brings_the_old_key_back(attack, fails, simulation):  # noqa: F811
    first = simulation.key(CN)
    rotated(simulation)
    once = (simulation.folder(CN) / "roster.bin").read_bytes()
    covered(simulation)
    rotated(simulation)
    attack.wire = (simulation.folder(CN) / "roster.bin").read_bytes()
    replayed = canonical.decode(once)[-1]
    fails(
        canonical.encode([*canonical.decode(attack.wire), replayed]),
        "was signed for another place",
    )
    change = Rekey(CN, first.verify_key)  # whoever has the first key, with it alone
    said = change_statement(open_roster(attack.wire, attack.pin), change)
    fails(attack.forged(change, {CN: first.sign(said) * 2}), "is or was somebody's already")
    fails(once, "the roster offered ends at epoch 2", "older")


def test_a_key_that_was_given_up_signs_no_letter_and_no_further_change(attack, fails, simulation):  # noqa: F811
    old, _ = rotated(simulation)
    attack.wire = (simulation.folder(CN) / "roster.bin").read_bytes()
    with pytest.raises(BadSignatureError):
        open_envelope(seal(Envelope(Kind.PONG, CN, AGGREGATOR), old), simulation.roster, AGGREGATOR)
    thief = key("a thief")
    change = Rekey(CN, thief.verify_key)
    said = change_statement(open_roster(attack.wire, attack.pin), change)
    fails(attack.forged(change, {CN: thief.sign(said) + old.sign(said)}), f"the key that {CN} has")


def test_a_sealed_folder_keeps_the_new_key_sealed(simulation):
    from experiments.vaults import NODE

    assert {"keys/identity.next", "keys/identity.old"} <= set(NODE.files)
    settings = load_settings(simulation.folder(CN))
    begin_identity(settings)
    assert at_rest.read(settings.next_identity) == settings.identities[-1].seed


@pytest.mark.parametrize("part", ["forked", "seen"])
def test_whoever_has_the_old_key_stops_no_node_once_a_quorum_saw_the_change(simulation, part):
    old, new = rotated(simulation)
    (number,) = (one.number for one in simulation.books(CN).succession().changes)
    covered(simulation)
    assert shows(simulation, old, part, number) is not Kind.FAILED
    assert shows(simulation, old, part, number + 1) is not Kind.FAILED  # no head of its log
    assert simulation.started(CN).ended is None
    assert shows(simulation, new, part, number + 1) is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, RolledBackError)


@pytest.mark.parametrize("part", ["forked", "seen"])
def test_until_then_another_head_of_the_old_key_ends_the_node(simulation, part):
    old, _ = rotated(simulation)
    assert shows(simulation, old, part, 1) is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, RolledBackError)


@pytest.mark.parametrize("part", ["forked", "seen"])
def test_the_first_key_stops_no_node_that_changes_its_key_a_second_time(simulation, part):
    first, second = rotated(simulation)
    (number,) = (one.number for one in simulation.books(CN).succession().changes)
    covered(simulation)
    rotated(simulation)
    assert shows(simulation, first, part, number) is not Kind.FAILED
    assert shows(simulation, first, part, number + 1) is not Kind.FAILED
    assert shows(simulation, second, part, number + 1) is Kind.FAILED  # nobody saw that change yet


@pytest.mark.parametrize("part", ["forked", "seen"])
def test_a_ledger_put_back_before_it_changed_its_key_is_told_as_such(simulation, part):
    old, _ = rotated(simulation)
    (number,) = (one.number for one in simulation.books(CN).succession().changes)
    assert shows(simulation, old, part, number + 5) is Kind.FAILED
    ended = simulation.started(CN).ended
    assert isinstance(ended, RolledBackError) and "put back and changed its key" in str(ended)
