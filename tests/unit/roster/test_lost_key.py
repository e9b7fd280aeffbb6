"""A member whose identity key is lost goes on with its books, under a key that others gave it."""

from contextlib import suppress
from dataclasses import replace

import pytest

from clients.books import Books
from clients.books_log import NOWHERE
from clients.checking import check as check_folder
from clients.errors import NodeSettingsError
from clients.regaining import LostBooksError, take_over
from clients.settings import load_settings
from experiments.proving import export
from experiments.verifying import check
from federation.errors import LedgerMismatchError, RolledBackError
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.messages import Kind
from federation.roster_chain import Admit, Rekey, change_statement, extended
from policies.parties import PartyId
from secure_compute.primitives.signature import SigningKey
from tests.identity import copied, everybody_takes, put_back, shows, speaks
from tests.rosters import key
from tests.simulator import CN, EU, UK, US, Killed, Simulation
from tests.unit.roster.test_attacks import AGGREGATOR, Attack, attack, entrant, fails  # noqa: F401

NEW = key("cn anew")
THIEF = key("a thief")


def grown(simulation: Simulation, change: Rekey, **words: SigningKey) -> None:
    """Everybody but CN has the chain with one change more, which these keys signed."""
    wire = (simulation.home.aggregator / "roster.bin").read_bytes()
    said = change_statement(simulation.roster, change)
    signed = {PartyId(p.replace("_", "-")): secret.sign(said) for p, secret in words.items()}
    both = words[CN.replace("-", "_")]
    if change.identity == THIEF.verify_key:  # it has the old key
        signed[CN] = both.sign(said) + simulation.key(CN).sign(said)
    chain = extended(wire, simulation.home.pin, change, signed)
    (simulation.home.aggregator / "roster.bin").write_bytes(chain)
    simulation.roster = simulation.home.roster()


def lost(simulation: Simulation, *, stolen: bool = False) -> SigningKey:
    """CN's key is gone, and two members gave it another one; return the one of before."""
    old = simulation.key(CN)
    simulation.kill(CN)
    if stolen:
        grown(simulation, Rekey(CN, THIEF.verify_key), warehouse_cn=THIEF)
    signers = {str(p).replace("-", "_"): simulation.key(p) for p in (EU, US)}
    grown(simulation, Rekey(CN, NEW.verify_key), warehouse_cn=NEW, **signers)
    everybody_takes(simulation)
    (simulation.folder(CN) / "trust.txt").write_text(str(Trust.of(simulation.roster)))
    (simulation.folder(CN) / "keys" / "identity.key").write_bytes(NEW.seed)
    return old


def replaced(simulation: Simulation) -> list[dict[str, object]]:
    entries = simulation.books(CN).entries()
    return [dict(entry.body) for entry in entries if entry.kind is EntryKind.KEY_REPLACED]


def test_its_ledger_goes_on_and_is_proven_to_who_has_a_list_printed_since(simulation):
    first = Trust.of(simulation.roster)
    simulation.node(CN)
    old = lost(simulation, stolen=True)
    assert speaks(simulation)
    (change,) = replaced(simulation)
    assert (change["previous"], change["identity"]) == (old.verify_key.hex, NEW.verify_key.hex)
    job = simulation.run(simulation.training(cohort=(CN, EU, US), rounds=1))
    assert job.status == "done" and job.result["parties"] == sorted((CN, EU, US))
    simulation.coordinator().have_witnessed()
    found = export(simulation.home).export
    since = Trust.of(simulation.roster)
    verdict = verify(found, since)
    assert verdict.is_authentic and verdict.rotated == ()
    assert [one.partition(" of ")[2] for one in verdict.replaced] == [
        origin_of(simulation.roster.federation, CN)
    ]
    assert "keys lost, and others given by members: 1" in check(found.to_bytes(), since).said.en
    with pytest.raises(LedgerMismatchError, match="take a list of keys that was printed since"):
        verify(found, first)
    assert not verify(found, None).is_authentic


@pytest.mark.parametrize("moment", ["before", "after"])
def test_cut_off_when_the_ledger_goes_on_it_goes_on_at_the_next_start(
    simulation, monkeypatch, moment
):
    simulation.node(CN)
    lost(simulation)
    real = Books.replace

    def dying(*arguments):
        if moment == "after":
            real(*arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Books, "replace", dying)
        with suppress(Killed):
            simulation.started(CN)
            pytest.fail("it was not cut off")
    simulation.kill(CN)
    assert speaks(simulation) and len(replaced(simulation)) == 1
    simulation.restart(CN)
    assert simulation.node(CN)._witnessing._is_sure() and len(replaced(simulation)) == 1


def test_without_its_books_it_does_not_start_and_has_no_budget_anew(simulation):
    simulation.node(CN)
    lost(simulation)
    kept = copied(simulation)
    put_back(simulation, {})
    settings = load_settings(simulation.folder(CN))
    for _ in range(2):  # nor at a second try
        with pytest.raises(LostBooksError, match="its account would begin anew"):
            simulation.started(CN)
        with pytest.raises(LostBooksError):
            check_folder(settings)
        assert not settings.books.exists()
    empty = Books(NOWHERE, origin_of(settings.federation, CN), NEW, simulation.now)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Books, "existing", lambda *_: empty)
        with pytest.raises(LostBooksError):
            take_over(settings, simulation.roster, simulation.now)
    put_back(simulation, kept)
    with pytest.raises(NodeSettingsError, match="run it once"):
        check_folder(settings)
    assert speaks(simulation)
    check_folder(settings)


def test_an_old_copy_of_its_books_is_told_as_such_by_witnesses(simulation):
    simulation.node(CN)
    kept = copied(simulation)
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    size = simulation.books(CN).head().size
    old = lost(simulation)
    put_back(simulation, kept)
    assert speaks(simulation) and simulation.books(CN).head().size < size
    assert shows(simulation, old, "seen", size) is Kind.FAILED
    ended = simulation.started(CN).ended
    assert isinstance(ended, RolledBackError) and "put back" in str(ended)


def test_an_order_under_way_is_over_and_paid_whole(simulation):
    order = simulation.training()
    simulation.node(CN)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    assert simulation.books(CN).open_orders() == [order.id]
    set_aside = [one.lifetime for one in simulation.books(CN).statement()]
    lost(simulation)
    simulation.started(CN)
    assert [one.lifetime for one in simulation.books(CN).statement()] == set_aside
    assert simulation.books(CN).open_orders() == []
    assert simulation.books(CN).is_doubted(order.id)


# -- the aggregator tries --------------------------------------------------------------------------


def test_nobody_else_gives_a_member_another_key(attack, fails, simulation):  # noqa: F811
    own = entrant(PartyId("warehouse-own"), simulation.roster.find(AGGREGATOR).organisation)
    second = entrant(PartyId("warehouse-us2"), simulation.roster.find(US).organisation)
    third = entrant(PartyId("warehouse-eu2"), simulation.roster.find(EU).organisation)
    for member in (own, second, third):
        attack.keys[member.party] = key(member.party)
        attack.wire = attack.grown(Admit(member), CN, UK, member.party)
        attack.offer(attack.wire)
    change = Rekey(EU, THIEF.verify_key)
    attack.keys[EU] = THIEF
    for by, counted in (
        ((AGGREGATOR, own.party), 0),
        ((AGGREGATOR, own.party, US), 1),
        ((US, second.party), 1),
        ((US, third.party), 1),
    ):
        words = attack.signed(attack.wire, change, EU, *by)
        fails(
            attack.forged(change, words),
            f"{counted} of 2 organisations signed for a new key of {EU}",
        )
    words = attack.signed(attack.wire, change, EU, US, UK)
    fails(
        attack.forged(replace(change, party=PartyId("warehouse-br")), words),
        "no member",
    )
    for other in (replace(change, identity=key("another").verify_key), Rekey(US, THIEF.verify_key)):
        fails(attack.forged(other, words), "not signed by the key that")
    assert attack.offer(attack.forged(change, words)).kind is not Kind.FAILED
    attack.wire = attack.forged(change, words)
    fails(attack.forged(Rekey(EU, key("another").verify_key), words), "not signed by the key that")
