"""A chain of epochs is believed for what its members signed, and for nothing else."""

import json
from dataclasses import replace

import pytest

from federation.errors import (
    ForkedRosterError,
    MalformedMessageError,
    OlderRosterError,
    RosterChangeError,
    UntrustedRosterError,
)
from federation.roster_chain import (
    Admit,
    Rekey,
    Remove,
    Restore,
    Suspend,
    change_statement,
    extended,
    found_roster,
    founding_statement,
    history,
    open_roster,
    pin_of,
    require_successor,
)
from policies.parties import PartyId, Role
from secure_compute import canonical
from tests.rosters import FOUNDERS, founded, founders, key, member

BR = Admit(member("br", "Recife"))


def test_a_founding_that_everybody_signed_is_epoch_one():
    chain = founded()
    roster = chain.roster
    assert (roster.epoch, roster.colluding, roster.suspended) == (1, 1, frozenset())
    assert roster.members == founders()
    assert roster.digest == chain.pin == pin_of(chain.wire)


def test_a_chain_that_was_believed_is_not_under_another_pin():
    chain = founded()
    assert open_roster(chain.wire, chain.pin) == chain.roster
    with pytest.raises(UntrustedRosterError, match="founded it anew"):
        open_roster(chain.wire, founded("elsewhere").pin)


@pytest.mark.parametrize("absent", FOUNDERS)
def test_a_founding_that_one_did_not_sign_is_none(absent):
    statement = founding_statement("harbour", founders(), 1)
    words = {m.party: key(m.party).sign(statement) for m in founders() if m.party != absent}
    with pytest.raises(UntrustedRosterError, match=f"lacks the signature of {absent}"):
        found_roster(statement, words)


def test_a_founding_that_a_stranger_signed_too_is_none():
    statement = founding_statement("harbour", founders(), 1)
    words = {m.party: key(m.party).sign(statement) for m in founders()}
    with pytest.raises(UntrustedRosterError, match="'br', who is not in it"):
        found_roster(statement, words | {PartyId("br"): key("br").sign(statement)})


def test_a_founding_that_was_signed_by_another_key_is_none():
    statement = founding_statement("harbour", founders(), 1)
    words = {m.party: key(m.party).sign(statement) for m in founders()}
    with pytest.raises(UntrustedRosterError, match="not signed by the key that cn has"):
        found_roster(statement, words | {PartyId("cn"): key("hub").sign(statement)})


@pytest.mark.parametrize(
    ("members", "colluding", "said"),
    [
        ([m for m in founders() if m.organisation not in {"Ningbo", "Zug"}], 1, "2 organisations"),
        (founders(), 3, "4 organisations besides the aggregator's found harbour and 5 must"),
        ([m for m in founders() if m.party != "hub"], 1, "exactly one aggregator"),
        ([*founders(), member("hub2", "Two", Role.AGGREGATOR)], 1, "exactly one aggregator"),
        ([*founders(), member("cn", "Else", seed="x")], 1, "cn is or was a member"),
        ([*founders(), member("br", "Recife", seed="cn")], 1, "br has the key of cn"),
        ([*founders(), member("br", "NINGBO ")], 1, "one name in two spellings"),
        ([*founders(), member("br", "Ｎｉｎｇｂｏ")], 1, "one name in two spellings"),  # noqa: RUF001
        ([*founders(), member("br", " ")], 1, "no printable name"),
        ([*founders(), member("br", "a\nb")], 1, "no printable name"),
        ([*founders(), member("br", "x" * 201)], 1, "no printable name"),
        ([*founders(), member("../br", "Recife")], 1, "no name of letters"),
        (founders(), 0, "c is a whole number from 1"),
        (founders(), 10, "c is a whole number from 1"),
        (founders(), True, "c is a whole number from 1"),
    ],
)
def test_what_founds_no_federation(members, colluding, said):
    with pytest.raises(RosterChangeError, match=said):
        founded(members=tuple(members), colluding=colluding)


def test_a_federation_has_a_name():
    with pytest.raises(RosterChangeError, match="federation's name"):
        founded("har bour")


def test_two_members_of_other_organisations_let_somebody_in():
    roster = founded().change(BR, "br", "cn", "us").roster
    assert roster.epoch == 2
    assert roster.find(PartyId("br")) == BR.member
    assert roster.digest != founded().pin


@pytest.mark.parametrize(
    ("signers", "said"),
    [
        (["cn"], "1 of 2 organisations signed for admitting br"),
        ([], "0 of 2 organisations"),
        (["eu", "eu2"], "1 of 2 organisations"),
        (["cn", "hub"], "the word of hub does not count"),
        (["cn", "hub-keys"], "the word of hub-keys does not count"),
        (["cn", "desk"], "the word of desk does not count"),
    ],
)
def test_fewer_let_nobody_in(signers, said):
    with pytest.raises(RosterChangeError, match=said):
        founded().change(BR, "br", *signers)


def test_an_entrant_proves_that_it_has_its_key():
    chain = founded()
    with pytest.raises(UntrustedRosterError, match="lacks the signature of br"):
        extended(chain.wire, chain.pin, BR, chain.words(BR, ["cn", "us"]))
    words = chain.words(BR, ["cn", "us"])
    words[PartyId("br")] = key("hub").sign(change_statement(chain.roster, BR))
    with pytest.raises(UntrustedRosterError, match="not signed by the key that br has"):
        extended(chain.wire, chain.pin, BR, words)


@pytest.mark.parametrize("signer", ["cn", "us"])
def test_a_signature_that_is_not_the_members_own_lets_nobody_in(signer):
    chain = founded()
    words = chain.words(BR, ["cn", "us"])
    said = change_statement(chain.roster, BR)
    words[PartyId("br")] = key("br").sign(said)
    words[PartyId(signer)] = key("hub").sign(said)
    with pytest.raises(UntrustedRosterError, match=f"not signed by the key that {signer} has"):
        extended(chain.wire, chain.pin, BR, words)


def test_an_entrant_of_a_members_organisation_is_not_let_in_by_it():
    more = Admit(member("cn2", "Ningbo"))
    with pytest.raises(RosterChangeError, match="the word of cn does not count"):
        founded().change(more, "cn2", "cn", "us")
    assert founded().change(more, "cn2", "ch", "us").roster.epoch == 2


@pytest.mark.parametrize(
    ("entrant", "said"),
    [
        (member("cn", "Recife", seed="br"), "cn is or was a member"),
        (member("br", "Recife", seed="cn"), "br has the key of cn"),
        (member("br", "Recife", Role.AGGREGATOR), "one aggregator"),
        (member("br", "OPERATIONS"), "one name in two spellings"),
        (member("a b", "Recife", seed="a b"), "no name of letters"),
    ],
)
def test_who_is_not_let_in_by_anybody(entrant, said):
    with pytest.raises(RosterChangeError, match=said):
        founded().change(Admit(entrant), entrant.party, "cn", "us")


def test_against_two_colluders_three_sign():
    members = (*founders(), member("jp", "Kobe"))
    chain = founded(members=members, colluding=2)
    with pytest.raises(RosterChangeError, match=r"2 of 3 organisations signed"):
        chain.change(BR, "br", "cn", "us")
    assert chain.change(BR, "br", "cn", "us", "eu").roster.epoch == 2


def test_a_member_leaves_by_its_own_word_and_its_name_is_never_given_again():
    chain = founded().change(Remove(PartyId("cn")), "cn")
    assert "cn" not in {m.party for m in chain.roster.members}
    assert [m.party for m in chain.roster.former] == ["cn"]
    for entrant in (member("cn", "Ningbo", seed="new"), member("br", "Recife", seed="cn")):
        with pytest.raises(RosterChangeError, match=r"is or was a member|has the key of cn"):
            chain.change(Admit(entrant), entrant.party, "us", "ch")


def test_others_put_a_member_out_and_the_aggregator_does_not():
    out = Remove(PartyId("cn"))
    assert founded().change(out, "us", "ch").roster.epoch == 2
    for signers in (["hub"], ["us"], ["us", "hub"], ["hub", "hub-keys"], ["eu", "eu2"]):
        with pytest.raises(RosterChangeError, match="organisations signed for removing cn"):
            founded().change(out, *signers)


def test_a_member_of_ones_own_organisation_does_not_put_one_out():
    with pytest.raises(RosterChangeError, match="the word of eu does not count"):
        founded().change(Remove(PartyId("eu2")), "eu", "cn")


def test_one_who_is_out_signs_nothing():
    chain = founded().change(Remove(PartyId("cn")), "cn")
    with pytest.raises(UntrustedRosterError, match="'cn', who is no member at epoch 2"):
        chain.change(BR, "br", "cn", "us")


@pytest.mark.parametrize("kind", [Remove, Suspend])
def test_the_aggregator_is_never_put_out(kind):
    with pytest.raises(RosterChangeError, match="hub is the aggregator"):
        founded().change(kind(PartyId("hub")), "hub", "cn", "us")


@pytest.mark.parametrize("kind", [Remove, Suspend, Restore])
def test_nobody_is_put_out_who_is_no_member(kind):
    with pytest.raises(RosterChangeError, match="'br' is no member"):
        founded().change(kind(PartyId("br")), "hub", "cn", "us")


def test_a_member_gives_itself_a_new_key_by_the_old_one():
    chain = founded().rekey("cn", old=True)
    assert chain.roster.find(PartyId("cn")).identity == key("cn anew").verify_key
    assert [m.identity for m in chain.roster.former] == [key("cn").verify_key]
    assert chain.change(BR, "br", "cn", "us").roster.epoch == 3


def test_two_others_give_a_member_a_new_key_that_it_has():
    assert founded().rekey("cn", "us", "ch").roster.epoch == 2
    for signers in ([], ["us"], ["us", "hub"], ["hub"], ["us", "desk"]):
        with pytest.raises(RosterChangeError, match="organisations signed for a new key of cn"):
            founded().rekey("cn", *signers)


def test_a_new_key_that_nobody_has_is_none():
    chain, change = founded(), Rekey(PartyId("cn"), key("new").verify_key)
    said = change_statement(chain.roster, change)
    words = chain.words(change, ["us", "ch"])
    with pytest.raises(UntrustedRosterError, match="not signed by the key that cn has"):
        extended(chain.wire, chain.pin, change, words)
    words[PartyId("cn")] = chain.keys["cn"].sign(said)
    with pytest.raises(UntrustedRosterError, match="not signed by the key that cn has"):
        extended(chain.wire, chain.pin, change, words)
    words[PartyId("cn")] = key("new").sign(said) + key("us").sign(said)
    with pytest.raises(UntrustedRosterError, match="not signed by the key that cn has"):
        extended(chain.wire, chain.pin, change, words)


@pytest.mark.parametrize("taken", ["us", "cn"])
def test_a_new_key_is_nobodys_yet(taken):
    chain, change = founded(), Rekey(PartyId("cn"), key(taken).verify_key)
    said = change_statement(chain.roster, change)
    with pytest.raises(RosterChangeError, match="is or was somebody's already"):
        extended(
            chain.wire,
            chain.pin,
            change,
            {PartyId("cn"): key(taken).sign(said) + key("cn").sign(said)},
        )


def test_a_key_given_up_comes_back_with_nobody():
    chain = founded().rekey("cn", old=True)
    with pytest.raises(RosterChangeError, match="br has the key of cn"):
        chain.change(Admit(member("br", "Recife", seed="cn")), "br", "us", "ch")


def test_the_aggregator_suspends_and_restores_alone():
    chain = founded().change(Suspend(PartyId("cn")), "hub")
    assert chain.roster.suspended == {"cn"}
    assert len(chain.roster.members) == len(FOUNDERS)
    assert chain.change(Restore(PartyId("cn")), "hub").roster.suspended == frozenset()


def test_a_member_suspends_itself_and_nobody_elses_word_does():
    assert founded().change(Suspend(PartyId("cn")), "cn").roster.suspended == {"cn"}
    with pytest.raises(RosterChangeError, match="by the aggregator or by itself alone"):
        founded().change(Suspend(PartyId("cn")), "us", "ch", "hub-keys")


def test_nobody_restores_but_the_aggregator():
    chain = founded().change(Suspend(PartyId("cn")), "cn")
    with pytest.raises(RosterChangeError, match="restored by the aggregator alone"):
        chain.change(Restore(PartyId("cn")), "cn", "us", "ch")


def test_what_is_so_already_is_no_change():
    chain = founded().change(Suspend(PartyId("cn")), "hub")
    with pytest.raises(RosterChangeError, match="suspended already"):
        chain.change(Suspend(PartyId("cn")), "hub")
    with pytest.raises(RosterChangeError, match="us is not suspended"):
        chain.change(Restore(PartyId("us")), "hub")


def test_a_suspended_member_lets_nobody_in_and_leaves_when_it_likes():
    chain = founded().change(Suspend(PartyId("cn")), "hub")
    with pytest.raises(RosterChangeError, match="the word of cn does not count"):
        chain.change(BR, "br", "cn", "us")
    left = chain.change(Remove(PartyId("cn")), "cn").roster
    assert left.suspended == frozenset()


def test_a_suspended_members_old_key_gives_no_new_one():
    chain = founded().change(Suspend(PartyId("cn")), "hub")
    with pytest.raises(RosterChangeError, match="0 of 2 organisations signed for a new key of cn"):
        chain.rekey("cn", old=True)
    assert chain.rekey("cn", "us", "ch").roster.suspended == {"cn"}


def test_every_epoch_is_told_with_who_signed_it():
    chain = founded().change(BR, "br", "cn", "us").change(Suspend(PartyId("cn")), "hub")
    first, second, third = history(chain.wire, chain.pin)
    assert (first.change, first.signers) == (None, tuple(sorted(FOUNDERS)))
    assert (second.change, second.signers) == (BR, ("br", "cn", "us"))
    assert (third.change, third.signers) == (Suspend(PartyId("cn")), ("hub",))
    assert third.roster == chain.roster


# -- one chain and another -------------------------------------------------------------------------


def test_a_longer_chain_follows_and_the_same_one_too():
    old = founded()
    new = old.change(BR, "br", "cn", "us")
    assert require_successor(old.wire, new.wire, old.pin) == new.roster
    assert require_successor(new.wire, new.wire, old.pin) == new.roster


def test_a_shorter_one_does_not():
    old = founded()
    new = old.change(BR, "br", "cn", "us")
    with pytest.raises(OlderRosterError, match="ends at epoch 1 and this party is at 2 already"):
        require_successor(new.wire, old.wire, old.pin)


@pytest.mark.parametrize("more", [False, True])
def test_one_that_parts_ways_does_not_however_long_it_is(more):
    start = founded()
    here = start.change(BR, "br", "cn", "us")
    there = start.change(Admit(member("jp", "Kobe")), "jp", "cn", "us")
    if more:
        there = there.change(Suspend(PartyId("jp")), "hub")
    with pytest.raises(ForkedRosterError, match="another epoch 2"):
        require_successor(here.wire, there.wire, start.pin)


def test_another_founding_is_of_another_federation():
    here, there = founded(), founded(members=(*founders(), member("br", "Recife")))
    with pytest.raises(UntrustedRosterError, match="of another federation, or somebody founded"):
        require_successor(here.wire, there.wire, here.pin)


def test_signatures_of_other_signers_make_no_other_epoch():
    start = founded()
    one, other = (start.change(BR, "br", *by) for by in (("cn", "us"), ("ch", "us")))
    assert one.roster.digest == other.roster.digest
    assert require_successor(one.wire, other.wire, start.pin) == one.roster


# -- what a chain looks like -----------------------------------------------------------------------


def _links(chain):
    return json.loads(chain.wire)


def _refused(chain, links, kind, said):
    with pytest.raises(kind, match=said):
        open_roster(canonical.encode(links), chain.pin)


def test_a_change_of_another_place_is_none():
    chain = founded()
    other = founded("elsewhere").change(BR, "br", "cn", "us")
    later = chain.change(Suspend(PartyId("eu")), "hub").change(BR, "br", "cn", "us")
    first = _links(chain)[0]
    for foreign in (_links(other)[1], _links(later)[2]):
        _refused(chain, [first, foreign], UntrustedRosterError, "was signed for another place")


def test_a_change_that_was_altered_is_none():
    chain = founded().change(BR, "br", "cn", "us")
    links = _links(chain)
    links[1]["statement"]["change"]["admit"]["identity"] = key("x").verify_key.hex
    _refused(chain, links, UntrustedRosterError, "not signed by the key that")
    links = _links(chain)
    links[1]["statement"]["more"] = 1
    _refused(chain, links, UntrustedRosterError, "another place")


def test_a_founding_that_was_altered_is_another_one():
    chain = founded()
    links = _links(chain)
    links[0]["statement"]["colluding"] = 2
    _refused(chain, links, UntrustedRosterError, "founded it anew")


@pytest.mark.parametrize(
    "wire", [b"", b"[]", b"{}", b"[1]", b"[ ]", b'[{"signatures":{},"statement":1}]', b"\xff"]
)
def test_what_is_no_chain(wire):
    with pytest.raises(MalformedMessageError, match="roster"):
        open_roster(wire, founded().pin)


@pytest.mark.parametrize("word", ["00", "0" * 127 + "A", "g" * 128, 1, None, "0" * 130])
def test_a_signature_has_one_spelling(word):
    chain = founded()
    links = _links(chain)
    links[0]["signatures"]["cn"] = word
    _refused(chain, links, MalformedMessageError, "signature of the roster")


@pytest.mark.parametrize(
    "change",
    [
        {"destroy": "cn"},
        {},
        {"remove": "cn", "suspend": "cn"},
        {"remove": 1},
        {"admit": {"party": "br"}},
        {"rekey": {"party": "cn", "identity": "x"}},
        {"rekey": {"party": "cn", "identity": "0" * 64, "more": 1}},
    ],
)
def test_what_is_no_change(change):
    chain = founded()
    statement = {"roster": "change", "version": 2, "federation": "harbour", "epoch": 2}
    statement |= {"previous": chain.pin, "change": change}
    links = [*_links(chain), {"statement": statement, "signatures": {}}]
    _refused(chain, links, MalformedMessageError, "roster")


def test_a_chain_is_not_read_beyond_its_bound():
    with pytest.raises(MalformedMessageError, match="larger than 8 MiB"):
        open_roster(b" " * (8 * 2**20 + 1), "0" * 64)


def test_a_roster_that_a_founders_key_signed_is_of_an_earlier_version():
    body = canonical.encode({"version": 1, "federation": "x", "epoch": 1, "members": []})
    with pytest.raises(UntrustedRosterError, match=r"earlier version, .* found the federation"):
        open_roster(key("founder").sign(body) + body, founded().pin)


def test_a_pin_is_known_before_anybody_signed():
    statement = founding_statement("harbour", founders(), 1)
    assert pin_of(statement) == founded().pin
    with pytest.raises(MalformedMessageError):
        pin_of(b"no chain")


def test_a_roster_of_a_member_that_is_none_is_none():
    with pytest.raises(MalformedMessageError, match="no member is suspended"):
        replace(founded().roster, suspended=frozenset({PartyId("br")}))
