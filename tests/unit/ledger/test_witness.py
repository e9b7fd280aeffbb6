"""A witness looks before it signs, and its words count only when they are its own and fresh."""

from dataclasses import replace

import pytest

from federation.errors import (
    ClockError,
    InconsistentLogError,
    MalformedMessageError,
    MalformedNoteError,
    OlderHeadError,
    RolledBackError,
    TooFewStatementsError,
    TooFewWitnessesError,
    UnknownPartyError,
    UnprovenHeadError,
    UntrustedNoteError,
)
from federation.ledger import notes, witness
from federation.ledger.merkle import EMPTY_ROOT
from federation.ledger.notes import Checkpoint, NamedKey, SignedHead
from federation.ledger.seen import (
    MAX_SKEW,
    Confirmed,
    Seen,
    confirm,
    open_seen,
    quorum,
    sign_seen,
    witnesses,
)
from federation.ledger.store import reading, writing
from federation.ledger.trust import COLLUDING, booked
from federation.ledger.withheld import GiveBack, sign_withheld, unopenable
from federation.ledger.witness import WitnessRequest, examine
from federation.membership import Member, Roster
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.primitives.signature import SigningKey
from tests.ledgers import (
    KEYS,
    NOW,
    ROLES,
    ROSTER,
    TRUST,
    Party,
    named_key,
    ordinary,
    origin,
    settled,
    signed,
)


@pytest.fixture
def party() -> Party:
    party = Party("cn", KEYS["cn"])
    party.append(ordinary())
    return party


def head(party: Party) -> SignedHead:
    key = NamedKey(party.log.origin, party.key.verify_key)
    return notes.open_note(party.request().note, key)


# -- examine ---------------------------------------------------------------------------------------


def test_the_first_head_is_taken_as_it_is(party: Party) -> None:
    assert examine(None, party.request(), named_key("cn")) == head(party)


def test_a_head_that_continues_is_taken(party: Party) -> None:
    last = head(party)
    party.append(ordinary("order-2"))
    shown = examine(last, party.request(), named_key("cn"))
    assert (last.size, shown.size) == (4, 8)
    assert examine(shown, party.request(), named_key("cn")) == shown


def test_a_head_without_a_proof_from_the_last_seen_size_is_refused(party: Party) -> None:
    last = head(party)
    party.append(ordinary("order-2"))
    middle = head(party)
    party.append(ordinary("order-3"))
    for sizes in ([], [middle.size]):
        with pytest.raises(UnprovenHeadError, match=r"demo/cn .* without a proof from the 4") as e:
            examine(last, party.request(sizes), named_key("cn"))
        assert e.value.since == 4


def test_a_head_that_does_not_continue_is_refused(party: Party) -> None:
    last = head(party)
    forked = Party("cn", KEYS["cn"])
    forked.append([*ordinary("order-9"), *ordinary("order-2")])
    with pytest.raises(InconsistentLogError, match=r"8 entries of .*cn do not continue the 4"):
        examine(last, forked.request([4]), named_key("cn"))


def test_a_proof_of_another_log_is_refused(party: Party) -> None:
    last = head(party)
    party.append(ordinary("order-2"))
    request = party.request()
    wrong = WitnessRequest(request.note, {4: tuple(bytes(32) for _ in request.proofs[4])})
    with pytest.raises(InconsistentLogError, match="do not continue"):
        examine(last, wrong, named_key("cn"))


def test_a_shorter_head_is_refused(party: Party) -> None:
    before = party.request()
    party.append(ordinary("order-2"))
    with pytest.raises(OlderHeadError, match="shows 4 entries, but has shown 8 before"):
        examine(head(party), before, named_key("cn"))


def test_another_head_of_the_same_size_is_refused(party: Party) -> None:
    forked = Party("cn", KEYS["cn"])
    forked.append(ordinary("order-9"))
    with pytest.raises(InconsistentLogError, match="another head of 4 entries"):
        examine(head(party), forked.request(), named_key("cn"))


def test_a_head_under_another_key_or_name_is_refused(party: Party) -> None:
    stranger = Party("cn", SigningKey(bytes(32)))
    stranger.append(ordinary())
    with pytest.raises(UntrustedNoteError):
        examine(None, stranger.request(), named_key("cn"))
    with pytest.raises(UntrustedNoteError):
        examine(None, party.request(), named_key("eu"))
    with pytest.raises(InconsistentLogError):
        examine(Checkpoint(origin("eu"), 1, bytes(32)), party.request(), named_key("cn"))


def test_a_request_travels_in_one_spelling(party: Party) -> None:
    head(party)
    party.append(ordinary("order-2"))
    request = party.request()
    data = request.to_bytes()
    assert WitnessRequest.from_bytes(data) == request
    assert set(request.proofs) == {4}
    bad = [
        b"",
        data[:-1],
        data + b" ",
        data.replace(b'"version":1', b'"version":2'),
        data.replace(b"[4,", b"[0,"),
        data.replace(b"[4,", b"[true,"),
        data.replace(b'=="', b'"').replace(b'="', b'"'),
        data.replace(b"proofs", b"prooof"),
    ]
    for wrong in bad:
        with pytest.raises(MalformedMessageError):
            WitnessRequest.from_bytes(wrong)


# -- cosignatures ----------------------------------------------------------------------------------


def test_cosigners_are_counted_by_organisation_and_never_the_own(party: Party) -> None:
    note = party.request().note
    lines = {name: witness.cosign(note, origin(name), KEYS[name], NOW) for name in ROLES}
    times = witness.cosigners(note, lines.values(), TRUST)
    assert times == {origin(name): NOW for name in ROLES}
    assert TRUST.organisations(times, origin("cn")) == {"Org eu", "Org br", "Org hub"}
    assert booked(TRUST, origin("cn"), {origin("eu"): "", origin("br"): ""})
    assert not booked(TRUST, origin("cn"), {origin("eu"): "", origin("cn"): ""})
    assert not booked(TRUST, origin("cn"), {origin("eu"): "", "entrepot/demo/ana": ""})


def test_a_cosignature_by_an_unknown_or_false_witness_is_refused(party: Party) -> None:
    note = party.request().note
    unknown = witness.cosign(note, origin("ana"), KEYS["ana"], NOW)
    false = witness.cosign(note, origin("eu"), KEYS["br"], NOW)
    for line, message in ((unknown, "not among the trusted"), (false, "eu did not cosign")):
        with pytest.raises(UntrustedNoteError, match=message):
            witness.cosigners(note, [line], TRUST)
    with pytest.raises(MalformedNoteError):
        witness.cosigners(note, ["no line"], TRUST)


def test_the_store_keeps_the_first_cosignature_and_shows_what_was_seen(party: Party) -> None:
    eu, br = (Party(name, KEYS[name]) for name in ("eu", "br"))
    eu.witness(party)
    party.append(ordinary("order-2"))
    br.witness(party)
    eu.at += 60
    eu.witness(party)
    eu.at += 60
    eu.witness(party)
    with reading(party.log.engine) as connection:
        assert set(party.log.cosigned(connection, 4)) == {origin("eu")}
        lines = party.log.cosigned(connection, 8)
        assert party.log.shown(connection, 1) == (8,)
        assert party.log.shown(connection, 2) == (4, 8)
    note = party.request().note
    assert witness.cosigners(note, lines.values(), TRUST) == {
        origin("br"): NOW,
        origin("eu"): NOW + 60,
    }
    with reading(eu.log.engine) as connection:
        assert eu.log.last_seen(connection, origin("cn")) == head(party)
        assert eu.log.last_seen(connection, origin("br")) is None
    assert eu.size() == 2  # each head once, however often it was cosigned


# -- who counts, and how many of them --------------------------------------------------------------


def roster_of(*members: tuple[str, Role, str]) -> Roster:
    key = KEYS["cn"].verify_key
    parties = (
        Member(PartyId(party), organisation, role, Jurisdiction.CN, key)
        for party, role, organisation in members
    )
    return Roster("demo", 1, tuple(parties))


def test_only_other_organisations_with_data_or_keys_count() -> None:
    roster = roster_of(
        ("cn", Role.WAREHOUSE, "Own"),
        ("cn-2", Role.MERCHANT, "Own"),
        ("eu", Role.MERCHANT, "Org eu"),
        ("eu-2", Role.WAREHOUSE, "Org eu"),
        ("br", Role.PAYMENT_PARTNER, "Org br"),
        ("keys", Role.KEYHOLDER, "Org keys"),
        ("hub", Role.AGGREGATOR, "Org hub"),
        ("ana", Role.ANALYST, "Org ana"),
    )
    assert witnesses(roster, PartyId("cn")) == {"Org eu", "Org br", "Org keys"}
    assert witnesses(roster, PartyId("hub")) == {"Own", "Org eu", "Org br", "Org keys"}
    with pytest.raises(UnknownPartyError):
        witnesses(roster, PartyId("who"))


@pytest.mark.parametrize("others", range(12))
def test_any_two_quorums_share_an_honest_witness(others: int) -> None:
    names = [(f"w{n}", Role.MERCHANT, f"Org w{n}") for n in range(others)]
    needed = quorum(roster_of(("cn", Role.WAREHOUSE, "Own"), *names), PartyId("cn"))
    shared = 2 * needed - others  # the least that two sets of so many have in common
    assert needed <= others
    assert shared >= min(others, COLLUDING + 1)
    assert needed == others or 2 * (needed - 1) - others < COLLUDING + 1  # and no more than that


# -- whether the own ledger was put back -----------------------------------------------------------

NONCE = "6e6f6e6365"


def words(party: Party, at: int = NOW, **sizes: int) -> list[Seen]:
    """Return what the named witnesses say that they saw last of what `party` signed."""
    said = []
    for name, size in sizes.items():
        with reading(party.log.engine) as connection:
            last = signed("cn", size, party.log.root(connection, size), party.key)
        wire = sign_seen(origin("cn"), last, NONCE, at, PartyId(name), KEYS[name])
        said.append(open_seen(wire, ROSTER, NONCE))
    return said


def confirmed(party: Party, seen: list[Seen], now: int = NOW, roster: Roster = ROSTER) -> Confirmed:
    with reading(party.log.engine) as connection:
        return confirm(
            roster=roster,
            party=PartyId("cn"),
            size=party.log.size(connection),
            root_at=lambda size: party.log.root(connection, size),
            seen=seen,
            now=now,
        )


def test_a_ledger_that_goes_on_is_confirmed(party: Party) -> None:
    found = confirmed(party, words(party, eu=3, br=0, hub=4))
    assert (found.size, found.at) == (3, NOW)
    assert found.organisations == {"Org eu", "Org br"}
    with pytest.raises(TypeError):
        Confirmed(origin("cn"), 4, frozenset(), NOW)


@pytest.mark.parametrize("who", ["eu", "hub", "ana", "cn"])
def test_a_ledger_that_was_put_back_is_found_by_whoever_has_its_note(
    party: Party, who: str
) -> None:
    copy = Party("cn", KEYS["cn"])
    copy.append(ordinary())
    party.append([*ordinary("order-2")])
    said = [*words(party, br=0), *words(party, **{who: 8})]
    with pytest.raises(RolledBackError, match=f"has 4 entries, but {who} has seen 8"):
        confirmed(copy, said)


def test_a_ledger_that_was_put_back_and_continued_is_found(party: Party) -> None:
    copy = Party("cn", KEYS["cn"])
    copy.append([*ordinary(), *ordinary("order-3"), *ordinary("order-4")])
    party.append(ordinary("order-2"))
    with pytest.raises(RolledBackError, match="not the one that eu saw at 8 entries"):
        confirmed(copy, words(party, eu=8, br=4))


def test_a_head_that_the_log_never_signed_is_no_word(party: Party) -> None:
    """Whoever invents a size says nothing: it stops nobody, and confirms nobody."""
    for key, size in ((KEYS["eu"], 10**6), (KEYS["br"], 4), (SigningKey(bytes(32)), 1)):
        last = signed("cn", size, b"x" * 32, key)
        wire = sign_seen(origin("cn"), last, NONCE, NOW, PartyId("eu"), KEYS["eu"])
        with pytest.raises(UntrustedNoteError, match="not signed by the key"):
            open_seen(wire, ROSTER, NONCE)
    other = signed("br", 4, bytes(32))
    wire = sign_seen(origin("cn"), other, NONCE, NOW, PartyId("eu"), KEYS["eu"])
    with pytest.raises(UntrustedNoteError, match=r"a checkpoint of .*br, not of .*cn"):
        open_seen(wire, ROSTER, NONCE)


def test_the_words_of_those_who_only_carry_or_ask_confirm_nothing(party: Party) -> None:
    for said in (
        words(party, hub=4, ana=4, cn=4),
        words(party, eu=4, hub=4, ana=4),
        words(party, eu=4, cn=4),
        [],
    ):
        with pytest.raises(TooFewWitnessesError, match=r"[01] other organisations .* 2 are needed"):
            confirmed(party, said)
    other = Seen(PartyId("br"), "Org br", origin("eu"), 0, EMPTY_ROOT, NOW)
    with pytest.raises(TooFewWitnessesError, match="1 other organisations"):
        confirmed(party, [*words(party, eu=4), other])


def test_nobody_confirms_itself_where_it_is_alone(party: Party) -> None:
    alone = roster_of(("cn", Role.WAREHOUSE, "Own"), ("hub", Role.AGGREGATOR, "Org hub"))
    with pytest.raises(TooFewWitnessesError, match="1 are needed"):
        confirmed(party, words(party, hub=4), roster=alone)


def test_as_many_must_answer_as_the_quorum(party: Party) -> None:
    names = [PartyId(f"w{n}") for n in range(5)]
    roster = roster_of(
        ("cn", Role.WAREHOUSE, "Own"), *((name, Role.MERCHANT, f"Org {name}") for name in names)
    )
    said = [Seen(name, f"Org {name}", origin("cn"), 0, EMPTY_ROOT, NOW) for name in names]
    with pytest.raises(TooFewWitnessesError, match=r"3 other organisations .* 4 are needed"):
        confirmed(party, said[:3], roster=roster)
    assert len(confirmed(party, said[:4], roster=roster).organisations) == 4


@pytest.mark.parametrize("shift", [MAX_SKEW + 1, 86_400, 5 * 365 * 86_400])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_that_is_off_stops_everything(party: Party, shift: int, sign: int) -> None:
    said = words(party, eu=4, br=4)
    with pytest.raises(ClockError, match="set this clock"):
        confirmed(party, said, now=NOW + sign * shift)
    assert confirmed(party, said, now=NOW + sign * MAX_SKEW).at == NOW


@pytest.mark.parametrize("lie", [0, NOW - MAX_SKEW - 1, NOW + MAX_SKEW + 1, 1 << 62])
def test_one_lying_clock_stops_and_moves_nothing(party: Party, lie: int) -> None:
    said = [*words(party, br=4), *words(party, eu=4, at=lie)]
    assert confirmed(party, said).at == min(NOW, lie)
    aside = [*said, *words(party, hub=4, at=lie)]
    assert confirmed(party, aside).at == min(NOW, lie)  # the aggregator's clock does not count


def test_a_word_is_fresh_and_by_its_witness(party: Party) -> None:
    wire = sign_seen(origin("cn"), None, NONCE, NOW, PartyId("eu"), KEYS["eu"])
    said = open_seen(wire, ROSTER, NONCE)
    assert (said.organisation, said.size, said.root) == ("Org eu", 0, EMPTY_ROOT)
    with pytest.raises(UntrustedNoteError, match="eu repeats"):
        open_seen(wire, ROSTER, "6e6f")
    forged = sign_seen(origin("cn"), None, NONCE, NOW, PartyId("eu"), KEYS["br"])
    with pytest.raises(UntrustedNoteError, match="eu did not sign"):
        open_seen(forged, ROSTER, NONCE)
    stranger = sign_seen(origin("cn"), None, NONCE, NOW, PartyId("who"), KEYS["br"])
    with pytest.raises(UnknownPartyError):
        open_seen(stranger, ROSTER, NONCE)
    about = sign_seen(origin("who"), None, NONCE, NOW, PartyId("eu"), KEYS["eu"])
    with pytest.raises(UnknownPartyError, match="entrepot/demo/who"):
        open_seen(about, ROSTER, NONCE)
    for bad in (wire[:-1], b"", wire + b" "):
        with pytest.raises(MalformedMessageError):
            open_seen(bad, ROSTER, NONCE)
    good = {"at": NOW, "nonce": NONCE, "note": "", "origin": origin("cn"), "witness": "eu"}
    said_otherwise = [
        {**good, "at": True},
        {**good, "at": "1"},
        {**good, "note": None},
        {**good, "size": 1},
        {**good, "note": "no note"},
    ]
    for value in said_otherwise:
        body = canonical.encode(value)
        odd = KEYS["eu"].sign(b"entrepot seen/1\n" + body) + body
        with pytest.raises((MalformedMessageError, MalformedNoteError)):
            open_seen(odd, ROSTER, NONCE)


# -- statements that an answer was withheld --------------------------------------------------------

COHORT = [PartyId(name) for name in ("cn", "eu", "br", "hub")]


def evidence(*said: str, release: str = "r0", threshold: int = 3) -> GiveBack:
    statements = [sign_withheld("o-1", release, PartyId(name), KEYS[name]) for name in said]
    return unopenable(
        statements, ROSTER, order="o-1", release="r0", cohort=COHORT, threshold=threshold
    )


def test_enough_statements_make_evidence() -> None:
    found = evidence("cn", "eu", "br")  # n - t + 1 + c = 4 - 3 + 1 + 1
    assert (found.order, found.release, len(set(found.statements))) == ("o-1", "r0", 3)
    with pytest.raises(TypeError):
        GiveBack("o-1", "r0", ())


@pytest.mark.parametrize("said", [["cn", "eu"], ["cn", "eu", "eu"], ["cn", "eu", "ana"]])
def test_too_few_statements_give_nothing_back(said: list[str]) -> None:
    with pytest.raises(TooFewStatementsError, match=r"2 parties say .*, 1 of them .* 2 are needed"):
        evidence(*said)


def test_a_lower_threshold_needs_more_statements() -> None:
    with pytest.raises(TooFewStatementsError, match="3 are needed"):
        evidence("cn", "eu", "br", threshold=2)
    with pytest.raises(TooFewStatementsError):
        evidence(*COHORT, threshold=5)


def test_an_organisation_lies_with_all_its_parties() -> None:
    """Three words of one organisation are one liar's; t = 4 of five parties needs two others."""
    names = ("cn", "eu", "br", "hub", "ana")
    houses = ("One", "One", "One", "Two", "Three")
    members = tuple(
        replace(m, organisation=house) for m, house in zip(ROSTER.members, houses, strict=True)
    )
    how = {"order": "o-1", "release": "r0", "cohort": [*map(PartyId, names)], "threshold": 4}

    def back(*said: str) -> GiveBack:
        words = [sign_withheld("o-1", "r0", PartyId(name), KEYS[name]) for name in said]
        return unopenable(words, replace(ROSTER, members=members), **how)

    for said in (("cn", "eu", "br"), ("cn", "eu", "br", "hub")):
        with pytest.raises(TooFewStatementsError):
            back(*said)
    assert len(back(*names).statements) == 5
    assert len(back("cn", "hub", "ana").statements) == 3


def test_a_statement_about_another_release_or_by_another_is_refused() -> None:
    with pytest.raises(MalformedMessageError, match="another release"):
        evidence("cn", "eu", "br", release="r1")
    forged = sign_withheld("o-1", "r0", PartyId("eu"), KEYS["br"])
    how = {"order": "o-1", "release": "r0", "cohort": COHORT, "threshold": 3}
    with pytest.raises(UntrustedNoteError, match="eu did not sign"):
        unopenable([forged], ROSTER, **how)
    with pytest.raises(UnknownPartyError):
        unopenable([sign_withheld("o-1", "r0", PartyId("who"), KEYS["br"])], ROSTER, **how)
    with pytest.raises(MalformedMessageError):
        unopenable([b"short"], ROSTER, **how)


def test_what_was_seen_is_written_down_with_its_row(party: Party) -> None:
    eu = Party("eu", KEYS["eu"])
    with pytest.raises(RuntimeError), writing(eu.log.engine) as connection:
        eu.log.remember_seen(connection, head(party), NOW)
        raise RuntimeError("a crash before the end of the transaction")
    with reading(eu.log.engine) as connection:
        assert eu.log.last_seen(connection, origin("cn")) is None
    assert eu.size() == 0
    eu.append([settled("o", "r")])
    assert eu.size() == 1


def test_two_heads_at_once_are_compared_with_one_another(party: Party) -> None:
    """Reading, comparing and writing down is one step: no other transaction comes between."""
    eu, forked = Party("eu", KEYS["eu"]), Party("cn", KEYS["cn"])
    forked.append([*ordinary("order-9"), *ordinary("order-8")])
    with writing(eu.log.engine) as connection:
        assert eu.log.vouch(connection, party.request(), named_key("cn"), NOW) == head(party)
        with pytest.raises(InconsistentLogError, match="do not continue the 4"):
            eu.log.vouch(connection, forked.request([4]), named_key("cn"), NOW)
        last = eu.log.last_seen(connection, origin("cn"))
    assert last is not None
    assert last.note == party.request().note
    assert eu.size() == 1


def test_a_late_head_is_told_from_a_false_one(party: Party) -> None:
    eu, early = Party("eu", KEYS["eu"]), party.request()
    party.append(ordinary("order-2"))
    with writing(eu.log.engine) as connection:
        eu.log.vouch(connection, party.request(), named_key("cn"), NOW)
        with pytest.raises(OlderHeadError):
            eu.log.vouch(connection, early, named_key("cn"), NOW)
    assert eu.size() == 1
