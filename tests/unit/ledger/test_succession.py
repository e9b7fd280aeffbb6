"""A log under two keys is verified from the first one on, and no key signs what is not its own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import (
    GivenUpKeyError,
    LedgerMismatchError,
    MalformedTrustError,
    ReadOnlyLogError,
    UntrustedNoteError,
)
from federation.ledger import merkle, notes, sightings, witness
from federation.ledger.entries import Entry, EntryKind, decode, encode
from federation.ledger.export import Export, LogExport
from federation.ledger.notes import Checkpoint, NamedKey
from federation.ledger.receipt import Receipt, verify_receipt
from federation.ledger.seen import open_seen, sign_seen
from federation.ledger.store import Log, writing
from federation.ledger.succession import Succession, entry_of, entry_of_lost
from federation.ledger.trust import Trust, Vouched
from federation.ledger.verify import verify
from federation.membership import Roster
from policies.parties import PartyId
from secure_compute.primitives.signature import SigningKey, VerifyKey
from tests.ledgers import (
    FEDERATION,
    KEYS,
    NOW,
    ROLES,
    ROSTER,
    TRUST,
    Party,
    exchange,
    export,
    founded,
    ordinary,
    origin,
    signed,
    witness_all,
)

OLD, NEW, NEWER = KEYS["cn"], SigningKey(b"a".ljust(32, b".")), SigningKey(b"b".ljust(32, b"."))
CN = origin("cn")
SECRETS = [OLD, NEW, NEWER, *(SigningKey(bytes([n] * 32)) for n in range(4))]
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rotations.json").read_text())


def under(*changes: SigningKey) -> Roster:
    """The roster after cn has changed its key so often."""
    now = ROSTER
    for key in changes:
        own = now.find(PartyId("cn"))
        members = tuple(
            replace(own, identity=key.verify_key) if m is own else m for m in now.members
        )
        now = replace(now, epoch=now.epoch + 1, members=members, former=(*now.former, own))
    return now


AFTER = Trust.of(under(NEW))


@pytest.fixture
def parties() -> dict[str, Party]:
    """Four ledgers; cn's went on under another key after its seventh entry."""
    found = founded()
    found["cn"].rotate(NEW)
    found["cn"].append(ordinary("afterwards"))
    witness_all(found)
    return found


def wrong(whole: Export, trust: Trust = TRUST) -> str:
    with pytest.raises(LedgerMismatchError) as caught:
        verify(Export.from_bytes(whole.to_bytes()), trust)
    return str(caught.value)


def over(entries: list[bytes], key: SigningKey, size: int | None = None) -> LogExport:
    """Return a log of cn over these entries; the first `size` are cosigned, and `key` signs all."""
    size = len(entries) if size is None else size
    roots = merkle.roots(entries, [size])
    head, seen = (
        notes.sign(Checkpoint(CN, n, roots[n]), key if n > 8 or size == len(entries) else OLD)
        for n in (len(entries), size)
    )
    others = [name for name in ROLES if name != "cn"]
    lines = "".join(witness.cosign(seen, origin(o), KEYS[o], NOW) for o in others)
    return LogExport.of(CN, entries, head, seen + lines)


def rotation(number: int, old: SigningKey, new: SigningKey, name: str = CN) -> Entry:
    return entry_of(name, number, old, new.verify_key, NOW)


def entries(*changes: tuple[int, SigningKey, SigningKey]) -> list[Entry]:
    """Twelve entries of cn's, with changes of key at these numbers."""
    found = [*ordinary("a"), *ordinary("b"), *ordinary("c")]
    for number, old, new in changes:
        found[number] = rotation(number, old, new)
    found[9:] = [one for one in found[9:] if one.kind is EntryKind.KEY_ROTATED] or found[9:]
    return found


# -- the keys of a log -----------------------------------------------------------------------------


def test_each_size_has_one_key() -> None:
    told = entries((4, OLD, NEW), (8, NEW, NEWER))
    keys = Succession.of(CN, told)
    at = [keys.at(size, VerifyKey("00" * 32)) for size in range(12)]
    assert at == [k.verify_key for k in [OLD] * 5 + [NEW] * 4 + [NEWER] * 3]
    assert Succession(CN).at(5, OLD.verify_key) == OLD.verify_key


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(SECRETS)), max_size=6))
def test_it_says_what_a_log_that_is_written_entry_by_entry_says(
    turns: list[tuple[int, SigningKey]],
) -> None:
    """The model appends, and notes for each size which key would have signed that head."""
    own, said, signers, used = OLD, list[Entry](), [OLD], [OLD]
    for ordinary_ones, new in turns:
        said += ordinary("x")[:ordinary_ones]
        signers += [own] * ordinary_ones
        said.append(rotation(len(said), own, new))
        signers.append(new)  # a head over the change is one entry longer than those of before
        own = new
        if new in used:
            with pytest.raises(LedgerMismatchError):
                Succession.of(CN, said)
            return
        used.append(new)
    keys = Succession.of(CN, said)
    found = [keys.at(size, OLD.verify_key) for size in range(len(said) + 1)]
    assert found == [key.verify_key for key in signers]


BAD = {
    "at another place": [(5, rotation(4, OLD, NEW))],
    "of another log": [(4, rotation(4, OLD, NEW, origin("eu")))],
    "by the new key": [(4, replace(rotation(4, OLD, NEW), body={
        **rotation(4, OLD, NEW).body, "signature": rotation(4, NEW, OLD).body["signature"],
    }))],
    "with the new key swapped": [(4, replace(rotation(4, OLD, NEW), body={
        **rotation(4, OLD, NEW).body, "identity": NEWER.verify_key.hex,
    }))],
    "about somebody else": [(4, replace(rotation(4, OLD, NEW), body={
        **rotation(4, OLD, NEW).body, "party": "eu",
    }))],
    "by a key that was given up": [(4, rotation(4, OLD, NEW)), (6, rotation(6, OLD, NEWER))],
    "back to the first key": [(4, rotation(4, OLD, NEW)), (6, rotation(6, NEW, OLD))],
    "to the same key": [(4, rotation(4, OLD, OLD))],
    "replayed": [(4, rotation(4, OLD, NEW)), (6, rotation(4, OLD, NEW))],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_a_change_of_key_that_is_none(name: str) -> None:
    told = entries()
    for number, entry in BAD[name]:
        told[number] = entry
    with pytest.raises(LedgerMismatchError, match="change of key in entry"):
        Succession.of(CN, told)


def test_the_same_bytes_as_ever() -> None:
    good = VECTORS["good"]
    made = entry_of(good["log"], good["number"], OLD, NEW.verify_key, NOW)
    assert encode(made).decode() == good["entry"]
    found = Succession(good["log"]).after(good["number"], decode(good["entry"].encode()))
    assert [each.identity for each in found.changes] == [NEW.verify_key]


def test_the_same_bytes_as_ever_where_the_key_before_is_lost() -> None:
    good = VECTORS["good_lost"]
    made = entry_of_lost(good["log"], good["number"], OLD.verify_key, NEW, NOW)
    assert encode(made).decode() == good["entry"]
    (change,) = Succession(good["log"]).after(good["number"], made).changes
    assert (change.identity, change.lost) == (NEW.verify_key, True)


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("bad_")])
def test_bad_vectors_are_refused(name: str) -> None:
    vector = VECTORS[name]
    before = Succession(vector["log"])
    for number, entry in vector.get("before", []):
        before = before.after(number, decode(entry.encode()))
    with pytest.raises(LedgerMismatchError, match=vector["why"]):
        before.after(vector["number"], decode(vector["entry"].encode()))


# -- whoever signs ---------------------------------------------------------------------------------


def test_a_log_signs_with_the_key_that_it_goes_on_under_and_with_no_other() -> None:
    party = founded()["cn"]
    old = party.log
    party.go_on(NEW)  # the log does not say so yet
    with pytest.raises(GivenUpKeyError, match="does not sign for the log now"):
        more(party)
    party.go_on(OLD)
    before = party.size()
    party.rotate(NEW)
    with writing(old.engine) as connection:
        with pytest.raises(GivenUpKeyError):
            old.checkpoint(connection)
        assert not party.log.rotate(connection, NEW.verify_key, NOW)
        note = party.log.checkpoint(connection)
    assert notes.open_note(note, NamedKey(CN, NEW.verify_key)).size == before + 1
    more(party)
    party.go_on(OLD)
    with pytest.raises(GivenUpKeyError):
        more(party)


def more(party: Party) -> str:
    party.append(ordinary("more"))
    with writing(party.log.engine) as connection:
        return party.log.checkpoint(connection)


def test_only_the_key_in_force_hands_over() -> None:
    party = founded()["cn"]
    party.rotate(NEW)
    with writing(party.log.engine) as connection:
        for key in (OLD, NEWER):
            with pytest.raises(LedgerMismatchError):
                Log(party.log.engine, CN, key).rotate(connection, NEWER.verify_key, NOW)
        with pytest.raises(ReadOnlyLogError):
            Log(party.log.engine, CN, None).rotate(connection, NEWER.verify_key, NOW)
        with pytest.raises(LedgerMismatchError, match="given up before"):
            party.log.rotate(connection, OLD.verify_key, NOW)


# -- what is proven --------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [TRUST, AFTER])
def test_a_log_is_followed_from_the_first_trusted_key(
    parties: dict[str, Party], trust: Trust
) -> None:
    verdict = verify(export(parties), trust)
    assert verdict.is_authentic
    assert len(verdict.rotated) == 1 and verdict.rotated[0].endswith(CN)
    told = "keys changed, each by the word of the one before: 1, first in entry 7 of " + CN
    assert told in verdict.line


def test_a_log_that_changes_its_key_again_is_followed_too(parties: dict[str, Party]) -> None:
    parties["cn"].rotate(NEWER)
    parties["cn"].append(ordinary("later"))
    witness_all(parties)
    for trust in (TRUST, AFTER, Trust.of(under(NEW, NEWER))):
        assert len(verify(export(parties), trust).rotated) == 2


def test_an_export_of_before_the_change_still_verifies_under_the_keys_of_after() -> None:
    assert verify(export(founded()), AFTER).rotated == ()


def test_what_a_witness_cosigned_before_its_own_change_still_counts() -> None:
    parties = founded()
    parties["eu"].rotate(NEW)
    whole = export(parties)
    assert "eu" in {line.name[-2:] for line in notes.read(whole.logs[0].witnessed).lines}
    assert verify(whole, TRUST).is_authentic
    parties["cn"].append(ordinary("later"))
    witness_all(parties)
    assert verify(export(parties), TRUST).is_authentic


def test_bad_a_witness_cosigns_with_a_key_that_it_gave_up() -> None:
    parties = founded()
    parties["eu"].rotate(NEW)
    parties["cn"].append(ordinary("later"))
    witness_all(parties)
    log = parties["cn"].export()
    own, *others = notes.read(log.witnessed).lines
    late = witness.cosign(log.witnessed, origin("eu"), KEYS["eu"], NOW)
    rest = [str(line) for line in others if line.name != origin("eu")]
    stolen = replace(
        log, witnessed=f"{notes.read(log.witnessed).checkpoint}\n{own}{''.join(rest)}{late}"
    )
    whole = exchange(export(parties), stolen)
    assert (
        f"{origin('eu')} cosigned {CN} at 11 entries with a key that it had given up at 7"
        in wrong(whole)
    )
    assert verify(export(parties), TRUST).is_authentic


def test_a_ledger_alone_is_verified_by_a_list_that_names_its_witness_new_key() -> None:
    parties = founded()
    parties["eu"].rotate(NEW)
    parties["cn"].append(ordinary("later"))
    witness_all(parties)
    alone = Export(FEDERATION, (parties["cn"].export(),))
    assert "with a key that is known here (or it changed its key since" in wrong(alone)
    known = TRUST.find(origin("eu"))
    later = replace(known, later=(NamedKey(origin("eu"), NEW.verify_key),))
    parts = tuple(later if p == known else p for p in TRUST.parties)
    assert verify(alone, Trust(FEDERATION, parts)).is_authentic


def test_a_receipt_is_proven_by_a_list_of_after_the_change(parties: dict[str, Party]) -> None:
    log = parties["cn"].export()
    roots, size = log.entries, notes.read(log.witnessed).checkpoint.size
    with writing(parties["cn"].log.engine) as connection:
        proof = parties["cn"].log.inclusion(connection, 2, size)
    receipt = Receipt(FEDERATION, CN, 2, roots[2], proof, log.witnessed)
    assert verify_receipt(receipt, AFTER).is_authentic
    with pytest.raises(LedgerMismatchError, match="take a list of keys that was printed later"):
        verify_receipt(receipt, TRUST)


# -- what is refused -------------------------------------------------------------------------------


def test_bad_a_head_by_the_old_key_after_the_change(parties: dict[str, Party]) -> None:
    told = list(parties["cn"].export().entries)
    assert "with a key that it had given up" in wrong(Export(FEDERATION, (over(told, OLD),)))


def test_bad_a_head_by_the_new_key_before_the_change(parties: dict[str, Party]) -> None:
    told = list(parties["cn"].export().entries)[:7]
    assert "not signed" in wrong(Export(FEDERATION, (over(told, NEW),)))
    assert "not signed" in wrong(Export(FEDERATION, (over(told, NEW),)), AFTER)


def test_bad_a_log_goes_on_under_a_new_key_without_a_word(parties: dict[str, Party]) -> None:
    told = [encode(entry) for entry in ordinary("a") + ordinary("b") + ordinary("c")]
    for trust in (TRUST, AFTER):
        assert "not signed" in wrong(Export(FEDERATION, (over(told, NEW, 8),)), trust)


def test_bad_a_change_that_the_old_key_did_not_sign(parties: dict[str, Party]) -> None:
    told = [encode(entry) for entry in ordinary("a") + ordinary("b")]
    forged = replace(
        rotation(8, OLD, NEWER),
        body={**rotation(8, NEWER, NEW).body, "previous": OLD.verify_key.hex},
    )
    for trust in (TRUST, AFTER):
        log = over([*told, encode(forged)], NEWER)
        assert "by the key that it gives up" in wrong(Export(FEDERATION, (log,)), trust)


def test_bad_a_log_that_begins_with_a_key_of_its_own(parties: dict[str, Party]) -> None:
    told = [encode(entry) for entry in [*ordinary("a"), *ordinary("b"), rotation(8, NEWER, NEW)]]
    assert "other keys than those that are trusted" in wrong(Export(FEDERATION, (over(told, NEW),)))


def test_bad_a_fork_at_the_change(parties: dict[str, Party]) -> None:
    """cn hands its log over twice: to the key that the roster names, and to one for eu's eyes."""
    other = Party("cn", OLD)
    other.append(list(map(decode, parties["cn"].export().entries[:7])))
    other.rotate(NEWER)
    other.append(ordinary("elsewhere"))
    told = other.export()
    lines = notes.read(parties["cn"].export().witnessed).lines
    assert "other keys than those that are trusted" in wrong(exchange(export(parties), told), AFTER)
    head = notes.open_note(told.head, NamedKey(CN, NEWER.verify_key))
    parties["eu"].append([sightings.entry_of(replace_size(head, 40, NEWER), NOW)])
    witness_all({n: p for n, p in parties.items() if n != "cn"})
    assert len(lines) == 4
    assert "never signed the head of 40 entries" in wrong(export(parties))


def test_bad_the_old_key_goes_on_for_somebody_eyes(parties: dict[str, Party]) -> None:
    parties["eu"].append([sightings.entry_of(signed("cn", 40, b"x" * 32, OLD), NOW)])
    witness_all({n: p for n, p in parties.items() if n != "cn"})
    for trust in (TRUST, AFTER):
        said = wrong(export(parties), trust)
        assert "signed a head of 40 entries with a key that it had given up" in said
        assert "of entrepot/demo/eu saw it" in said


def replace_size(head: Checkpoint, size: int, key: SigningKey) -> notes.SignedHead:
    return signed("cn", size, head.root, key)


# -- the list of keys ------------------------------------------------------------------------------


# -- a key that is lost ----------------------------------------------------------------------------


@pytest.fixture
def lost() -> dict[str, Party]:
    """Four ledgers; the key of cn's was lost after its seventh entry."""
    found = founded()
    found["cn"].lose(NEW)
    found["cn"].append(ordinary("afterwards"))
    witness_all(found)
    return found


def test_a_log_goes_on_after_a_lost_key_for_who_has_a_list_of_since(lost: dict[str, Party]) -> None:
    whole = export(lost)
    verdict = verify(whole, AFTER)
    assert verdict.is_authentic and verdict.rotated == ()
    assert verdict.replaced == (f"entry 7 of {CN}",)
    assert "given by members: 1, first in entry 7" in str(verdict)
    assert verify(whole, Trust.of(under(NEWER, NEW))).is_authentic  # a thief's stands between
    assert not verify(whole, None).is_authentic


def test_bad_a_log_goes_on_after_a_lost_key_under_one_that_nobody_knows(
    lost: dict[str, Party],
) -> None:
    assert "take a list of keys that was printed since" in wrong(export(lost))
    assert "take a list of keys that was printed since" in wrong(
        export(lost), Trust.of(under(NEWER))
    )


def test_bad_a_thief_lets_its_own_key_follow(parties: dict[str, Party]) -> None:
    """Its word for the next key skips no key that the list has."""
    assert "under other keys" in wrong(export(parties), Trust.of(under(NEWER, NEW)))


def test_bad_a_thief_lends_the_name_of_a_party_whose_key_it_had() -> None:
    found = founded()
    found["cn"].lose(NEW)
    witness_all(found)
    thief, whole = SigningKey(b"thief".ljust(32, b".")), export(found)
    place = next(n for n, log in enumerate(whole.logs) if log.origin == origin("eu"))
    log = whole.logs[place]
    note = "".join(log.witnessed.partition("\n\n")[:2]) + "".join(
        line + "\n"
        for line in log.witnessed.partition("\n\n")[2].splitlines()
        if f" {CN} " not in line
    )
    stolen = note + witness.cosign(note, CN, thief, NOW)
    logs = [*whole.logs]
    logs[place] = replace(log, witnessed=stolen)
    assert "a key that its ledger never had" in wrong(
        replace(whole, logs=tuple(logs)), Trust.of(under(thief, NEW))
    )


def test_a_log_is_told_once_that_its_key_is_lost() -> None:
    party = founded()["cn"]
    party.lose(NEW)
    size = party.size()
    party.lose(NEW)
    assert party.size() == size
    party.rotate(NEWER)
    with pytest.raises(LedgerMismatchError, match="was given up before"):
        party.lose(NEW)


def test_the_list_names_every_key_of_a_party_in_its_order() -> None:
    found = Trust.of(under(NEW, NEWER))
    assert [key.key for key in found.find(CN).keys] == [k.verify_key for k in (OLD, NEW, NEWER)]
    assert Trust.parse(str(found)) == found
    assert len(str(found).splitlines()) == len(str(TRUST).splitlines()) + 2
    again = replace(under(NEW), former=(*under(NEW).former, under(NEW).find(PartyId("cn"))))
    assert str(Trust.of(again)) == str(AFTER)  # a sealing key was changed


@pytest.mark.parametrize(
    "text",
    [
        str(AFTER).replace("\tOrg cn\n", "\tOrg xx\n", 1),
        "\n".join([*str(AFTER).splitlines(), str(AFTER).splitlines()[1]]) + "\n",
        "\n".join([*str(TRUST).splitlines(), str(AFTER).splitlines()[2]]) + "\n",
    ],
)
def test_bad_a_list_with_a_key_out_of_place(text: str) -> None:
    with pytest.raises(MalformedTrustError, match="twice"):
        Trust.parse(text)


def test_bad_one_key_twice() -> None:
    key = NamedKey(CN, OLD.verify_key)
    for later in (key, NamedKey(origin("eu"), NEW.verify_key)):
        with pytest.raises(MalformedTrustError):
            Vouched(key, "Org cn", (later,))


# -- what witnesses say of it ----------------------------------------------------------------------


def test_a_witness_word_counts_under_the_key_of_that_size(parties: dict[str, Party]) -> None:
    keys = Succession.of(CN, map(decode, parties["cn"].export().entries))
    roster, eu = under(NEW), PartyId("eu")

    def word(size: int, key: SigningKey) -> int:
        last = signed("cn", size, b"r" * 32, key)
        wire = sign_seen(CN, last, "nonce", NOW, eu, KEYS["eu"])
        return open_seen(wire, roster, "nonce", keys).size

    assert (word(7, OLD), word(8, NEW)) == (7, 8)
    for size, key in ((8, OLD), (7, NEW), (8, NEWER)):
        with pytest.raises(UntrustedNoteError):
            word(size, key)
    last = signed("cn", 3, b"r" * 32, OLD)
    wire = sign_seen(CN, last, "nonce", NOW, eu, KEYS["eu"])
    assert open_seen(wire, roster, "nonce").size == 3
