"""An export is proven in one line, or what is wrong in it is named."""

from dataclasses import replace

import pytest

from federation.errors import LedgerMismatchError
from federation.ledger import merkle, notes, sightings, witness
from federation.ledger.entries import Entry, EntryKind, decode, encode
from federation.ledger.export import Export, LogExport
from federation.ledger.notes import COSIGNATURE, Checkpoint, NamedKey
from federation.ledger.store import writing
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.membership import Roster
from secure_compute.primitives.signature import SigningKey
from tests.ledgers import (
    EVENT,
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
    limit,
    named_key,
    ordinary,
    origin,
    reserved,
    settled,
    signed,
    witness_all,
)


@pytest.fixture
def parties() -> dict[str, Party]:
    return founded()


def wrong(whole: Export, trust: Trust | None = TRUST) -> str:
    """Return what is said about an export that is wrong, also after a journey through a file."""
    with pytest.raises(LedgerMismatchError) as caught:
        verify(Export.from_bytes(whole.to_bytes()), trust)
    return str(caught.value)


def resigned(name: str, entries: list[bytes], keys: dict[str, SigningKey] = KEYS) -> LogExport:
    """Return a log over any entries, signed and cosigned with any keys, all of it well-formed."""
    head = Checkpoint(origin(name), len(entries), merkle.roots(entries)[len(entries)])
    note = notes.sign(head, keys[name])
    others = [other for other in ROLES if other != name]
    lines = "".join(witness.cosign(note, origin(o), keys[o], NOW) for o in others)
    return LogExport.of(origin(name), entries, note, note + lines)


# -- what is proven --------------------------------------------------------------------------------


def test_a_whole_export_is_proven_in_one_line(parties: dict[str, Party]) -> None:
    verdict = verify(export(parties), TRUST)
    assert verdict.is_authentic
    assert str(verdict).startswith(
        "proven: 4 of 4 ledgers with 28 entries of demo are whole and signed, 2 or more other "
        "organisations saw each (up to c = 1 may lie together), no account was overdrawn; "
    )
    assert "\n" not in verdict.line
    assert (verdict.entries, verdict.logs) == (28, 4)
    assert verdict.accounts[origin("cn")].held(limit()["account"]).spent == {EVENT: 1}


def test_without_keys_it_is_consistent_and_not_authentic(parties: dict[str, Party]) -> None:
    verdict = verify(export(parties), None)
    assert not verdict.is_authentic
    assert verdict.line.startswith("consistent, not authentic: 4 ledgers with 28 entries of demo")


def test_one_ledger_alone_is_proven_too(parties: dict[str, Party]) -> None:
    verdict = verify(Export(FEDERATION, (parties["cn"].export(),)), TRUST)
    assert "1 of 4 ledgers with 7 entries" in verdict.line
    assert verdict.line.endswith("; alone: nothing here shows whether it goes on")
    assert "alone" not in verify(export(parties), TRUST).line


@pytest.mark.parametrize("lie", [0, 253402300799, (1 << 62)])
def test_no_single_witness_says_as_of_when(parties: dict[str, Party], lie: int) -> None:
    parties["cn"].append(ordinary("late"))
    parties["br"].at = lie
    for name in ("eu", "hub", "br"):
        parties[name].witness(parties["cn"])
    log = parties["cn"].export()
    assert "as of 2026-09-21 14:13 UTC" in verify(Export(FEDERATION, (log,)), TRUST).line


def test_what_entries_cannot_show_stands_in_the_verdict(parties: dict[str, Party]) -> None:
    plain = verify(export(parties), TRUST)
    assert (plain.unproven, plain.raised) == (0, ())
    back = {"release": "m", "statements": ["a" * 64, "b" * 64]}
    masked = [reserved("hidden"), settled("hidden", "m", masked=1)]
    parties["cn"].append([*masked, Entry(EntryKind.GIVEN_BACK, NOW, "hidden", back)])
    parties["eu"].append([reserved("more", epsilon="9")])
    for trust in (TRUST, None):
        verdict = verify(export(parties), trust)
        assert verdict.unproven == 1
        assert verdict.raised == ("entry 7 of entrepot/demo/eu",)
        assert "given back on statements that are not in this file: 1 releases" in verdict.line
        assert "raised by a reservation itself: 1, first in entry 7 of" in verdict.line


def test_entries_that_await_their_witnesses_are_counted(parties: dict[str, Party]) -> None:
    before = verify(export(parties), TRUST).unwitnessed
    parties["cn"].append(ordinary("order-late"))
    verdict = verify(export(parties), TRUST)
    assert verdict.unwitnessed == before + 4
    assert f"{before + 4} entries await their witnesses" in verdict.line
    assert "as of 2026-09-21 14:13 UTC" in verdict.line


def test_the_file_reads_back_exactly(parties: dict[str, Party]) -> None:
    whole = export(parties)
    assert Export.from_bytes(whole.to_bytes()) == whole
    for bad in (b"", b"{}", b"[]", whole.to_bytes()[:-1], whole.to_bytes() + b"\n"):
        with pytest.raises(LedgerMismatchError):
            Export.from_bytes(bad)


# -- a flipped byte --------------------------------------------------------------------------------


def test_a_changed_entry_is_named(parties: dict[str, Party]) -> None:
    whole = export(parties)
    log = whole.logs[1]
    entries = list(log.entries)
    entries[2] = entries[2].replace(b'"r0"', b'"r1"')
    message = wrong(exchange(whole, replace(log, entries=tuple(entries))))
    assert message.startswith("entry 2 of entrepot/demo/eu was changed")


def test_a_changed_entry_is_found_although_its_hash_was_changed_too(
    parties: dict[str, Party],
) -> None:
    whole = export(parties)
    log = whole.logs[1]
    entries = list(log.entries)
    entries[2] = entries[2].replace(b'"r0"', b'"r1"')
    changed = LogExport.of(log.origin, entries, log.head, log.witnessed)
    for trust in (TRUST, None):
        message = wrong(exchange(whole, changed), trust)
        assert "one of the entries 0 to " in message
        assert origin("eu") in message


def test_what_others_saw_narrows_down_where_the_change_is(parties: dict[str, Party]) -> None:
    parties["eu"].append(ordinary("order-late"))
    witness_all(parties)
    log = parties["eu"].export()
    entries = list(log.entries)
    assert decode(entries[7]).order == "order-late"
    entries[7] = entries[7].replace(b'"policy":"a', b'"policy":"b')
    changed = LogExport.of(log.origin, entries, log.head, log.witnessed)
    assert "one of the entries 5 to " in wrong(exchange(export(parties), changed))


def test_a_flipped_byte_in_the_file_is_found(parties: dict[str, Party]) -> None:
    data = export(parties).to_bytes()
    for place in range(0, len(data), 97):
        flipped = bytearray(data)
        flipped[place] ^= 1
        with pytest.raises(LedgerMismatchError):
            verify(Export.from_bytes(bytes(flipped)), TRUST)


def test_a_damaged_entry_is_named(parties: dict[str, Party]) -> None:
    data = export(parties).to_bytes()
    place = data.index(b'"entries":["') + len(b'"entries":["')
    flipped = data[:place] + b"!" + data[place + 1 :]
    with pytest.raises(LedgerMismatchError, match="entry 0 of entrepot/demo/cn is damaged"):
        Export.from_bytes(flipped)


# -- a book re-signed throughout with fresh keys ---------------------------------------------------


def test_a_book_signed_anew_with_fresh_keys_is_found() -> None:
    fresh = {name: SigningKey(name.encode().ljust(32, b"!")) for name in ROLES}
    entries = [encode(entry) for entry in ordinary("order-forged")]
    whole = Export(FEDERATION, tuple(resigned(name, entries, fresh) for name in ROLES))
    message = wrong(whole)
    assert message.startswith("entrepot/demo/cn is not authentic")
    assert "not signed by the key it had when it joined" in message
    assert verify(whole, None).line.startswith("consistent, not authentic")
    members = tuple(
        replace(m, identity=fresh[m.party].verify_key) if m.party in fresh else m
        for m in ROSTER.members
    )
    assert verify(whole, Trust.of(Roster(FEDERATION, 1, members))).is_authentic


def test_keys_that_came_with_the_file_are_never_used() -> None:
    fresh = {**KEYS, "cn": SigningKey(bytes(32))}
    old, new = (keys["cn"].verify_key.hex for keys in (KEYS, fresh))
    joined = {
        "party": "cn",
        "role": "warehouse",
        "jurisdiction": "CN",
        "identity": new,
        "epoch": 1,
        "contact": "",
    }
    signed = fresh["cn"].sign(b"").hex()
    rotated = {"party": "cn", "previous": old, "identity": new, "signature": signed}
    said = [
        Entry(EntryKind.JOINED, NOW, "", joined),
        Entry(EntryKind.KEY_ROTATED, NOW, "", rotated),
    ]
    log = resigned("cn", [encode(entry) for entry in said], fresh)
    assert "by the key that it gives up" in wrong(Export(FEDERATION, (log,)))
    log = resigned("cn", [encode(said[0])], fresh)
    assert "not signed by the key it had when it joined" in wrong(Export(FEDERATION, (log,)))


def test_a_witness_under_a_fresh_key_does_not_count() -> None:
    entries = [encode(entry) for entry in ordinary()]
    fresh = {**KEYS, "eu": SigningKey(bytes(32))}
    log = resigned("cn", entries, fresh)
    assert "entrepot/demo/eu did not cosign" in wrong(Export(FEDERATION, (log,)))


def test_too_few_cosignatures_are_not_enough(parties: dict[str, Party]) -> None:
    parties["cn"].append(ordinary("order-late"))
    log = parties["cn"].export()
    with writing(parties["cn"].log.engine) as connection:
        head = parties["cn"].log.checkpoint(connection)
    one = witness.cosign(head, origin("eu"), KEYS["eu"], NOW)
    lonely = replace(log, witnessed=head + one)
    assert "only 1 other organisations vouch for entrepot/demo/cn" in wrong(
        Export(FEDERATION, (lonely,))
    )
    own = witness.cosign(head, origin("cn"), KEYS["cn"], NOW)
    with pytest.raises(LedgerMismatchError):
        verify(Export(FEDERATION, (replace(log, witnessed=head + one + own),)), TRUST)
    assert "only 0 other organisations" in wrong(
        Export(FEDERATION, (replace(log, witnessed=head),))
    )


def test_a_cosignature_over_another_head_does_not_count(parties: dict[str, Party]) -> None:
    log = parties["cn"].export()
    lines = notes.read(log.witnessed).lines[1:]
    moved = replace(log, witnessed=log.head + "".join(map(str, lines)))
    assert "did not cosign" in wrong(Export(FEDERATION, (moved,)))


# -- two heads of one size, shown to two witnesses -------------------------------------------------


def forked(parties: dict[str, Party]) -> Party:
    """Let `br` show one continuation to `eu`, and return the log of another, for `cn`."""
    other = Party("br", KEYS["br"])
    with writing(parties["br"].log.engine) as connection:
        other.append([decode(e) for e in parties["br"].log.entries(connection)])
    parties["br"].append(ordinary("order-told-to-eu"))
    other.append(ordinary("order-told-to-cn"))
    return other


def shown_with_proof(witnessing: Party, showing: Party) -> None:
    with writing(witnessing.log.engine) as connection:
        last = witnessing.log.last_seen(connection, origin("br"))
        request = showing.request([last.size] if last else [])
        witnessing.log.vouch(connection, request, named_key("br"), NOW)


def test_two_heads_of_one_size_are_found_by_two_witnesses(parties: dict[str, Party]) -> None:
    other = forked(parties)
    shown_with_proof(parties["eu"], parties["br"])
    shown_with_proof(parties["cn"], other)
    witness_all({name: parties[name] for name in ("cn", "eu", "hub")})
    two = {name: parties[name] for name in ("cn", "eu")}
    message = wrong(export(two))
    assert "entrepot/demo/br showed two heads of" in message
    assert "of entrepot/demo/cn and to entry" in message
    assert message.endswith("it keeps two ledgers")


def test_two_heads_of_one_size_are_found_in_the_ledger_itself(parties: dict[str, Party]) -> None:
    other = forked(parties)
    shown_with_proof(parties["cn"], other)
    witness_all({name: parties[name] for name in ("cn", "eu", "hub")})
    whole = export({name: parties[name] for name in ("cn", "br")})
    message = wrong(whole)
    assert "entrepot/demo/br showed two heads of" in message
    assert "of entrepot/demo/cn and another in this file" in message
    assert "two heads" in wrong(whole, None)


# -- sightings that nobody signed ------------------------------------------------------------------


def forged(size: int, key: SigningKey, name: str = "cn") -> Entry:
    return sightings.entry_of(signed(name, size, b"x" * 32, key), NOW)


@pytest.mark.parametrize("size", [5, 10**6])
@pytest.mark.parametrize("key", [KEYS["br"], SigningKey(bytes(32))])
def test_a_forged_sighting_convicts_its_writer(
    parties: dict[str, Party], size: int, key: SigningKey
) -> None:
    parties["br"].append([forged(size, key)])
    number = parties["br"].size() - 1
    message = wrong(export(parties))
    assert message.startswith(f"entry {number} of entrepot/demo/br is forged: entrepot/demo/cn")
    assert message.endswith("ask entrepot/demo/br")
    alone = Export(FEDERATION, (parties["br"].export(),))
    assert "is forged" in wrong(alone)
    doubtful = wrong(export(parties), None) if size > 5 else ""
    assert not doubtful or "or that entry is made up" in doubtful


def test_a_genuine_signature_under_another_head_is_forged_too(parties: dict[str, Party]) -> None:
    good = signed("cn", 5, bytes(32))
    moved = replace(good, size=6)
    parties["br"].append([sightings.entry_of(moved, NOW)])
    assert "of entrepot/demo/br is forged" in wrong(export(parties))
    other = replace(good, line=replace(good.line, key_id=b"none"))
    parties["eu"].append([sightings.entry_of(other, NOW)])
    assert "of entrepot/demo/eu is forged" in wrong(Export(FEDERATION, (parties["eu"].export(),)))


def test_what_was_seen_of_a_log_that_left_is_held_against_nobody(
    parties: dict[str, Party],
) -> None:
    gone = SigningKey(b"gone".ljust(32))
    parties["br"].append([forged(3, gone, "gone")])
    assert verify(export(parties), TRUST).is_authentic


def test_a_genuine_sighting_convicts_the_log_that_signed_it(parties: dict[str, Party]) -> None:
    """Whatever was seen and signed counts, also where its entries are nowhere to be found."""
    parties["br"].append([forged(10**6, KEYS["cn"])])
    assert wrong(export(parties)).startswith("the tail of entrepot/demo/cn was cut off")


# -- a tail cut off --------------------------------------------------------------------------------


def test_a_tail_cut_off_is_found_by_the_head(parties: dict[str, Party]) -> None:
    whole = export(parties)
    log = whole.logs[0]
    cut = LogExport.of(log.origin, log.entries[:-1], log.head, log.witnessed)
    message = wrong(exchange(whole, cut))
    assert "the head of entrepot/demo/cn is over 7 entries, the file holds 6" in message


def test_a_tail_cut_off_with_an_older_head_is_found_by_who_saw_more(
    parties: dict[str, Party],
) -> None:
    older = parties["cn"].export()
    parties["cn"].append(ordinary("order-unwanted"))
    witness_all(parties)
    whole = export(parties)
    assert verify(whole, TRUST).is_authentic
    assert verify(Export(FEDERATION, (older,)), TRUST).is_authentic  # nobody else is there to tell
    for trust in (TRUST, None):
        message = wrong(exchange(whole, older), trust)
        assert message.startswith("the tail of entrepot/demo/cn was cut off: the file ends at 7")
        assert "of entrepot/demo/" in message
        assert message.endswith("saw 11" if trust else "to know")


def test_entries_behind_the_signed_head_are_refused(parties: dict[str, Party]) -> None:
    log = parties["cn"].export()
    more = [*log.entries, encode(ordinary("order-2")[0])]
    longer = LogExport.of(log.origin, more, log.head, log.witnessed)
    assert "entries were added that nobody signed" in wrong(Export(FEDERATION, (longer,)))


# -- a witness that cosigns without its last size --------------------------------------------------


def test_a_witness_that_cosigns_without_looking_is_found(parties: dict[str, Party]) -> None:
    parties["br"].append(ordinary("order-2"))
    for name in ("eu", "cn"):
        parties[name].at += 10
        parties[name].witness(parties["br"], is_blind=name == "eu")
    later = NOW + 1000
    parties["eu"].append([Entry(EntryKind.CROSSED, later, "", _crossing())])
    witness_all({name: parties[name] for name in ("cn", "eu", "hub")})
    message = wrong(export({name: parties[name] for name in ("br", "eu")}))
    assert message.startswith("entrepot/demo/eu cosigned entrepot/demo/br at 11 entries without")


def test_a_blind_witness_is_found_by_what_it_saw_later(parties: dict[str, Party]) -> None:
    parties["br"].append(ordinary("order-2"))
    parties["cn"].witness(parties["br"])
    parties["eu"].witness(parties["br"], is_blind=True)
    log = parties["br"].export()
    assert notes.read(log.witnessed).checkpoint.size == 11
    parties["br"].append(ordinary("order-3"))
    parties["eu"].witness(parties["br"])
    witness_all({name: parties[name] for name in ("cn", "eu", "hub")})
    message = wrong(export({name: parties[name] for name in ("br", "eu")}))
    assert "entrepot/demo/eu cosigned entrepot/demo/br at 11 entries without" in message


def test_a_log_that_was_exported_before_its_party_cosigned_is_no_proof_of_that(
    parties: dict[str, Party],
) -> None:
    before = parties["eu"].export()
    parties["br"].append(ordinary("order-2"))
    for name in ("eu", "cn", "hub"):
        parties[name].at += 10_000
        parties[name].witness(parties["br"])
    assert verify(Export(FEDERATION, (parties["br"].export(), before)), TRUST).is_authentic


def test_a_witness_that_says_it_went_back_is_found() -> None:
    entries = [_seen("br", 5), _seen("br", 4)]
    log = resigned("cn", [encode(entry) for entry in entries])
    message = wrong(Export(FEDERATION, (log,)))
    assert message.startswith("entry 1 of entrepot/demo/cn says that it saw entrepot/demo/br at 4")


# -- what a ledger may not say ---------------------------------------------------------------------


def test_an_account_that_does_not_follow_is_named() -> None:
    log = resigned("cn", [encode(entry) for entry in [*ordinary("o"), settled("o", "r1")]])
    message = wrong(Export(FEDERATION, (log,)))
    assert message.startswith("entry 4 of entrepot/demo/cn is wrong")
    assert "comes after its order was closed" in message


def test_an_entry_of_an_unknown_form_is_named() -> None:
    log = resigned("cn", [encode(ordinary()[0]), b'{"name":"somebody"}'])
    assert wrong(Export(FEDERATION, (log,))).startswith("entry 1 of entrepot/demo/cn is wrong")


def test_another_federation_or_a_log_twice_is_refused(parties: dict[str, Party]) -> None:
    whole = export(parties)
    assert "no log of the federation other" in wrong(replace(whole, federation="other"))
    assert "one log twice" in wrong(replace(whole, logs=(*whole.logs, whole.logs[0])))
    assert "no log" in wrong(replace(whole, logs=()))
    other = Trust("other", ())
    assert "the trusted keys are of other" in wrong(whole, other)


def test_a_log_whose_party_is_not_trusted_is_refused(parties: dict[str, Party]) -> None:
    only = Trust(FEDERATION, tuple(p for p in TRUST.parties if p.key.name != origin("cn")))
    assert "entrepot/demo/cn is not among the trusted keys" in wrong(export(parties), only)


def test_a_head_of_another_log_is_refused(parties: dict[str, Party]) -> None:
    whole = export(parties)
    cn, eu = whole.logs[0], whole.logs[1]
    assert "none of its heads" in wrong(exchange(whole, replace(cn, head=eu.head)))
    assert "is damaged" in wrong(exchange(whole, replace(cn, head="no note")))
    own = notes.read(cn.head).lines[0]
    assert "none of its heads" in wrong(exchange(whole, replace(cn, head=cn.head + str(own))))
    more = cn.head + witness.cosign(cn.head, origin("eu"), KEYS["eu"], NOW)
    assert "more than its own signature" in wrong(exchange(whole, replace(cn, head=more)))


def test_a_cosignature_key_is_not_the_key_of_a_log() -> None:
    assert NamedKey(origin("eu"), KEYS["eu"].verify_key, COSIGNATURE).id != (
        NamedKey(origin("eu"), KEYS["eu"].verify_key).id
    )


def _crossing() -> dict:
    return {
        "kind": "train.update",
        "recipient": "hub",
        "origin": "CN",
        "destination": "EU",
        "bytes": 1,
        "rule": "r",
    }


def _seen(name: str, size: int) -> Entry:
    return sightings.entry_of(signed(name, size, bytes(31) + bytes([size])), NOW)
