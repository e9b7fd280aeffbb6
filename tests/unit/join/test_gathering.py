"""Whose word founds and admits: members, each for what it was shown, never the aggregator."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.gathering import Gathering, NoMemberError, StaleWordError
from aggregator.hosting import load_hosting
from aggregator.register import Register
from clients.calling import TurnedAwayError
from clients.entering import founding_words
from experiments import inviting
from experiments.errors import NoFederationError, UsageError
from experiments.home import open_home
from federation.roster_chain import Admit, Suspend, change_statement, extended, open_roster
from federation.views import Signature, read_view
from federation.whole_files import keep_file
from policies.parties import PartyId
from secure_compute.canonical import digest_bytes
from secure_compute.errors import BadSignatureError
from secure_compute.primitives.authority import request_certificate
from secure_compute.primitives.signature import SigningKey
from tests.joins import BR, CH, CN, EU, FOUNDERS, Harbour


@pytest.fixture(scope="module")
def founded(tmp_path_factory) -> Harbour:
    """Founded by three; read only."""
    harbour = Harbour(tmp_path_factory.mktemp("founded"))
    with harbour.open():
        harbour.found()
    return harbour


@pytest.fixture
def harbour(tmp_path: Path) -> Harbour:
    return Harbour(tmp_path)


def gathering(harbour: Harbour) -> Gathering:
    return Gathering(harbour.aggregator, time.time)


def identity(harbour: Harbour, party: str) -> SigningKey:
    return SigningKey((harbour.node(party) / "keys" / "identity.key").read_bytes())


def word(key: SigningKey, statement: bytes) -> bytes:
    return Signature(digest_bytes(statement), key.sign(statement)).to_bytes()


def epoch(harbour: Harbour) -> int:
    roster = inviting.roster_of(harbour.begun.hosting)
    return 0 if roster is None else roster.epoch


def test_a_federation_is_founded_when_the_last_founder_has_signed(harbour: Harbour) -> None:
    with harbour.open():
        for seat in FOUNDERS:
            came = harbour.join(harbour.invite(seat), seat.party)
            assert "organisations besides the aggregator's have asked" in came.why
        shown = inviting.founders(harbour.begun)
        inviting.found(harbour.begun, shown)
        assert epoch(harbour) == 0 and inviting.take_home(harbour.begun) is None
        for place, seat in enumerate(FOUNDERS):
            assert epoch(harbour) == 0
            assert (harbour.resume(seat.party).why == "") is (place == len(FOUNDERS) - 1)
        assert epoch(harbour) == 1
        roster = inviting.take_home(harbour.begun)
    assert roster is not None and roster.members == shown.members
    assert load_hosting(harbour.aggregator).pin == digest_bytes(shown.statement)
    assert open_home(harbour.folder / "fed").roster() == roster
    enrolled = {path.stem for path in (harbour.aggregator / "nodes").glob("*.pub")}
    assert enrolled == {"cn", "eu", "ch"}


def test_before_the_founding_there_is_no_federation_to_ask(harbour: Harbour) -> None:
    with pytest.raises(NoFederationError, match="not founded yet"):
        open_home(harbour.folder / "fed")


def test_too_few_organisations_do_not_found(harbour: Harbour) -> None:
    with harbour.open():
        for seat in FOUNDERS[:2]:
            harbour.join(harbour.invite(seat), seat.party)
    with pytest.raises(UsageError, match="cannot be founded yet: 2 organisations"):
        inviting.founders(harbour.begun)


def test_the_aggregators_own_organisation_founds_nothing(harbour: Harbour) -> None:
    own = inviting.Seat(PartyId("own"), "Operations", CH.role, CH.jurisdiction)
    with harbour.open():
        for seat in (*FOUNDERS[:2], own):
            harbour.join(harbour.invite(seat), seat.party)
    with pytest.raises(UsageError, match="cannot be founded yet"):
        inviting.founders(harbour.begun)


def test_another_list_of_founders_wants_new_words_of_all(harbour: Harbour) -> None:
    with harbour.open() as there:
        for seat in FOUNDERS:
            harbour.join(harbour.invite(seat), seat.party)
        first = inviting.founders(harbour.begun)
        inviting.found(harbour.begun, first)
        harbour.resume("cn")
        harbour.join(harbour.invite(BR), "br")
        second = inviting.founders(harbour.begun)
        inviting.found(harbour.begun, second)
        assert founding_words(first.statement) != founding_words(second.statement)
        with pytest.raises(StaleWordError):
            there.sign(PartyId("eu"), word(identity(harbour, "eu"), first.statement))
        for party in ("cn", "eu", "ch"):
            harbour.resume(party)
        assert epoch(harbour) == 0
        assert harbour.resume("br").why == "" and epoch(harbour) == 1


def test_nobody_signs_for_another_or_for_what_is_not_asked(harbour: Harbour) -> None:
    with harbour.open() as there:
        for seat in FOUNDERS:
            harbour.join(harbour.invite(seat), seat.party)
        shown = inviting.founders(harbour.begun)
        inviting.found(harbour.begun, shown)
        with pytest.raises(BadSignatureError):
            there.sign(CN.party, word(identity(harbour, "eu"), shown.statement))
        with pytest.raises(StaleWordError):
            there.sign(CN.party, word(identity(harbour, "cn"), b"something else"))
        with pytest.raises(StaleWordError):
            there.sign(PartyId("nobody"), word(identity(harbour, "cn"), shown.statement))
        assert set(Register(harbour.aggregator).signatures(digest_bytes(shown.statement))) == {
            "aggregator",
            "analyst",
        }


def test_who_has_not_enrolled_sees_nothing(harbour: Harbour, founded: Harbour) -> None:
    with pytest.raises(NoMemberError):
        gathering(harbour).look(CN.party)
    with pytest.raises(NoMemberError):
        gathering(founded).look(BR.party)


def test_a_founding_is_shown_to_those_alone_who_are_in_it(harbour: Harbour) -> None:
    with harbour.open():
        for seat in FOUNDERS:
            harbour.join(harbour.invite(seat), seat.party)
        inviting.found(harbour.begun, inviting.founders(harbour.begun))
        harbour.join(harbour.invite(BR), "br")
    assert read_view(gathering(harbour).look(CN.party)).founding
    assert not read_view(gathering(harbour).look(BR.party)).founding


def test_a_founding_cut_off_after_its_last_word_is_made_at_the_next_start(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with harbour.open():
        for seat in FOUNDERS:
            harbour.join(harbour.invite(seat), seat.party)
        inviting.found(harbour.begun, inviting.founders(harbour.begun))
        for seat in FOUNDERS[:2]:
            harbour.resume(seat.party)
    statement = Register(harbour.aggregator).founding()
    monkeypatch.setattr("aggregator.gathering.write_pin", cut)
    with pytest.raises(KeyboardInterrupt):
        gathering(harbour).sign(CH.party, word(identity(harbour, "ch"), statement))
    monkeypatch.undo()
    assert epoch(harbour) == 0
    with harbour.open():
        assert epoch(harbour) == 1


def test_an_entrant_is_in_with_two_members_words_and_its_own(harbour: Harbour) -> None:
    from experiments.admitting import hall

    with harbour.open():
        harbour.found()
        words = harbour.join(harbour.invite(BR), "br").words
        for party in ("cn", "ch"):
            assert epoch(harbour) == 1
            seen = hall(harbour.node(party))
            assert seen.find("br").words == words and seen.find("br").needed == 2
            seen.admit(seen.find("br"))
        assert epoch(harbour) == 2
        assert harbour.resume("br").why == ""
        assert hall(harbour.node("cn")).asked == ()
    assert (harbour.aggregator / "nodes" / "br.pub").exists()
    assert (harbour.node("br") / "trust.txt").exists()


def test_members_words_without_the_entrants_own_let_nobody_in(harbour: Harbour) -> None:
    with harbour.open() as there:
        harbour.found()
        harbour.join(harbour.invite(BR), "br")
        roster = inviting.roster_of(harbour.begun.hosting)
        assert roster is not None
        entrant = next(e for e, one in there.founders() if one.party == "br").member
        statement = change_statement(roster, Admit(entrant))
        Register(harbour.aggregator).sign(digest_bytes(statement), BR.party, b"x" * 64)
        for party in ("cn", "ch"):
            there.sign(PartyId(party), word(identity(harbour, party), statement))
        assert epoch(harbour) == 1
        there.sign(BR.party, word(identity(harbour, "br"), statement))
        assert epoch(harbour) == 2


def test_an_entrant_signs_no_entry_but_its_own(harbour: Harbour) -> None:
    """Its word under another's would make the longer chain none, and keep that one out."""
    uk = inviting.Seat(PartyId("uk"), "Leeds", BR.role, BR.jurisdiction)
    with harbour.open() as there:
        harbour.found()
        for seat in (BR, uk):
            harbour.join(harbour.invite(seat), seat.party)
        roster = inviting.roster_of(harbour.begun.hosting)
        assert roster is not None
        entrant = next(e for e, one in there.founders() if one.party == "br").member
        statement = change_statement(roster, Admit(entrant))
        with pytest.raises(StaleWordError):
            there.sign(uk.party, word(identity(harbour, "uk"), statement))
        for party in ("cn", "ch"):
            there.sign(PartyId(party), word(identity(harbour, party), statement))
        assert epoch(harbour) == 2


def test_who_may_read_the_settings_stays_as_it_was_when_the_pin_comes(harbour: Harbour) -> None:
    settings = harbour.aggregator / "aggregator.toml"  # a database's password may stand there
    settings.chmod(0o600)
    with harbour.open():
        harbour.found()
    assert epoch(harbour) == 1 and settings.stat().st_mode & 0o777 == 0o600


def test_neither_aggregator_nor_analyst_nor_the_same_organisation_twice_lets_in(
    harbour: Harbour,
) -> None:
    second = inviting.Seat(PartyId("cn2"), "Ningbo", CH.role, CN.jurisdiction)
    with harbour.open() as there:
        harbour.found((*FOUNDERS, second))
        harbour.join(harbour.invite(BR), "br")
        roster = inviting.roster_of(harbour.begun.hosting)
        assert roster is not None
        entrant = next(e for e, one in there.founders() if one.party == "br").member
        statement = change_statement(roster, Admit(entrant))
        begun = harbour.begun
        there.sign(begun.hosting.party, word(begun.hosting.identity, statement))
        there.sign(begun.analyst.party, word(begun.analyst_key, statement))
        for party in ("cn", "cn2"):
            there.sign(PartyId(party), word(identity(harbour, party), statement))
            assert epoch(harbour) == 1
        there.sign(EU.party, word(identity(harbour, "eu"), statement))
        assert epoch(harbour) == 2


def test_words_for_an_epoch_that_is_over_count_for_nothing(harbour: Harbour) -> None:
    with harbour.open() as there:
        harbour.found()
        harbour.join(harbour.invite(BR), "br")
        hosting = harbour.begun.hosting
        roster = inviting.roster_of(hosting)
        assert roster is not None
        entrant = next(e for e, one in there.founders() if one.party == "br").member
        before = change_statement(roster, Admit(entrant))
        there.sign(CN.party, word(identity(harbour, "cn"), before))
        change = Suspend(CH.party)
        suspended = {hosting.party: hosting.identity.sign(change_statement(roster, change))}
        chain = (harbour.aggregator / "roster.bin").read_bytes()
        longer = extended(chain, hosting.pin, change, suspended)
        keep_file(harbour.aggregator / "roster.bin", longer)
        with pytest.raises(StaleWordError):
            there.sign(EU.party, word(identity(harbour, "eu"), before))
        after = change_statement(open_roster(longer, hosting.pin), Admit(entrant))
        there.sign(BR.party, word(identity(harbour, "br"), after))
        for party in ("eu", "ch"):  # the suspended one's word counts for nothing
            there.sign(PartyId(party), word(identity(harbour, party), after))
        assert epoch(harbour) == 2
        there.sign(CN.party, word(identity(harbour, "cn"), after))
        assert epoch(harbour) == 3


def test_a_member_is_given_a_certificate_and_a_suspended_one_is_not(harbour: Harbour) -> None:
    with harbour.open() as there:
        harbour.found()
        request = request_certificate(harbour.node("ch") / "keys" / "stream.key", "ch")
        assert there.renew(CH.party, request, b"").startswith(b"-----BEGIN CERTIFICATE")
        with pytest.raises(NoMemberError):
            there.renew(BR.party, request, b"")
        hosting = harbour.begun.hosting
        roster = inviting.roster_of(hosting)
        assert roster is not None
        change = Suspend(CH.party)
        words = {hosting.party: hosting.identity.sign(change_statement(roster, change))}
        chain = (harbour.aggregator / "roster.bin").read_bytes()
        keep_file(harbour.aggregator / "roster.bin", extended(chain, hosting.pin, change, words))
        with pytest.raises(NoMemberError, match="suspended"):
            there.renew(CH.party, request, b"")


def test_nobody_is_given_a_certificate_before_the_founding(harbour: Harbour) -> None:
    with harbour.open() as there:
        harbour.join(harbour.invite(CN), "cn")
        request = request_certificate(harbour.node("cn") / "keys" / "stream.key", "cn")
        with pytest.raises(NoMemberError):
            there.renew(CN.party, request, b"")


def test_nobody_else_is_invited_under_a_members_name(founded: Harbour) -> None:
    for seat in (replace(CN, organisation="Another"), replace(CN, jurisdiction=EU.jurisdiction)):
        with pytest.raises(UsageError, match="is or was a member"):
            founded.invite(seat)


def test_whoever_is_withdrawn_founds_nothing_and_comes_in_no_more(harbour: Harbour) -> None:
    with harbour.open():
        tokens = {seat.party: harbour.invite(seat) for seat in (*FOUNDERS, BR)}
        for seat in (*FOUNDERS, BR):
            harbour.join(tokens[seat.party], seat.party)
        assert BR.party in {member.party for member in inviting.founders(harbour.begun).members}
        inviting.withdraw(harbour.begun, BR.party)
        assert BR.party not in {member.party for member in inviting.founders(harbour.begun).members}
        with pytest.raises(TurnedAwayError):
            harbour.join(tokens[BR.party], BR.party)
    with pytest.raises(UsageError, match="nobody is invited as br"):
        inviting.withdraw(harbour.begun, BR.party)


def test_a_member_is_revoked_and_not_withdrawn(founded: Harbour) -> None:
    with pytest.raises(UsageError, match="aggregator revoke"):
        inviting.withdraw(founded.begun, CN.party)
    assert Register(founded.aggregator).taken(
        next(one.id for one in Register(founded.aggregator).invited() if one.party == CN.party)
    )


def test_an_organisation_is_spelt_as_it_was(harbour: Harbour) -> None:
    harbour.invite(CN)
    with pytest.raises(UsageError, match="is spelt 'Ningbo' for cn"):
        harbour.invite(replace(EU, organisation="NINGBO "))
    harbour.invite(replace(CN, organisation="ningbo"))  # the seat itself may be spelt anew
    harbour.invite(replace(EU, organisation="ningbo"))


def test_an_organisation_that_looks_misspelt_is_named(harbour: Harbour) -> None:
    """It counts once more, so whoever invites is told; it may be another one."""
    harbour.invite(replace(CN, organisation="Ningbo Logistics"))
    for spelt, found in (
        ("Ningbo Logistic", {"Ningbo Logistics": CN.party}),
        ("Nimbo Logistics", {"Ningbo Logistics": CN.party}),
        ("Ningbo Logistics", {}),
        ("Hamburg Logistics", {}),
        ("Ningbo", {}),
    ):
        assert inviting.looks_like(harbour.begun, replace(EU, organisation=spelt)) == found
    assert not inviting.looks_like(harbour.begun, replace(CN, organisation="Ningbo Logistic"))
