"""What passes at joining: its one spelling, whose signature it takes, and what words stand for."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.consent import agree, agreed, read_consent
from clients.errors import NodeSettingsError
from federation.check_words import check_words, word_list
from federation.enrolment import (
    Enrolment,
    Offer,
    open_enrolment,
    read_offer,
    sign_enrolment,
    words_of,
)
from federation.errors import MalformedMessageError, MisdirectedMessageError
from federation.knocks import Knock, read_knock
from federation.ledger.entries import Entry, EntryKind, decode, encode
from federation.views import Request, Signature, View, read_signature, read_view
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.primitives.signature import SIGNATURE_SIZE
from tests.rosters import key, member, sealing

OFFER = Offer(
    federation="harbour",
    party=PartyId("cn"),
    organisation="Ningbo",
    role=Role.WAREHOUSE,
    jurisdiction=Jurisdiction.CN,
    host=member("hub", "Operations", Role.AGGREGATOR),
    authority="a certificate",
    fleet="127.0.0.1:1",
    stream="127.0.0.1:2",
    threshold=2,
    colluding=1,
    pin="",
)
ENROLMENT = Enrolment(
    federation="harbour",
    invitation="0123456789abcdef",
    member=member("cn", "Ningbo", Role.WAREHOUSE),
    request="a request",
    flower="a line",
    card="a" * 64,
)
WIRE = sign_enrolment(ENROLMENT, key("cn"))
KNOCK = Knock("0123456789abcdef", b"s" * 20, "", b"")
REQUEST = Request(WIRE, "a certificate", (PartyId("cn"),))
VIEW = View(b"chain", b"statement", (PartyId("a"), PartyId("b")), 2, (REQUEST,))
WORD = Signature("b" * 64, b"w" * 64)


@pytest.mark.parametrize(
    "names",
    [
        {"party": PartyId("../cn")},
        {"party": PartyId("/tmp/cn")},
        {"federation": "harbour\nExecStartPre=/bin/true"},
        {"organisation": "Ningbo\x1b[8m"},
        {"organisation": ""},
        {"host": member("../hub", "Operations", Role.AGGREGATOR)},
        {"host": member("hub", "Operations\nthe six words: a b", Role.AGGREGATOR)},
    ],
    ids=str,
)
def test_an_offer_names_what_a_roster_could(names):
    """Names become folders, lines of a unit's file and lines on a terminal."""
    with pytest.raises(MalformedMessageError, match="names what no roster could"):
        read_offer(canonical.encode(replace(OFFER, **names).to_json()))


def _values(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    if isinstance(value, dict | list):
        for name, inner in items:
            yield from _values(inner, (*path, name))


def _without(value, path):
    return {k: v for k, v in value.items() if k != path}


FORMS = {
    "offer": (canonical.encode(OFFER.to_json()), read_offer, OFFER),
    "knock": (KNOCK.to_bytes(), read_knock, KNOCK),
    "view": (VIEW.to_bytes(), read_view, VIEW),
    "word": (WORD.to_bytes(), read_signature, WORD),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_was_written_is_read(name):
    data, read, value = FORMS[name]
    assert read(data) == value


@pytest.mark.parametrize("name", FORMS)
def test_nothing_may_be_missing_added_or_of_another_type(name):
    data, read, _ = FORMS[name]
    value = canonical.decode(data)
    for field in value:
        with pytest.raises(MalformedMessageError):
            read(canonical.encode(_without(value, field)))
        with pytest.raises(MalformedMessageError):
            read(canonical.encode({**value, field: None}))
    for bad in ({**value, "more": 1}, {**value, "version": 2}, [value], "text", 1):
        with pytest.raises(MalformedMessageError):
            read(canonical.encode(bad))
    for spelt in (data + b" ", b" " + data, data[:-1], b""):
        with pytest.raises(MalformedMessageError):
            read(spelt)


@pytest.mark.parametrize(
    "changed",
    [
        {"role": "king"},
        {"jurisdiction": "XX"},
        {"threshold": 1},
        {"colluding": 0},
        {"pin": "A" * 64},
        {"pin": "a" * 63},
    ],
    ids=str,
)
def test_an_offer_that_no_federation_makes_is_refused(changed):
    with pytest.raises(MalformedMessageError):
        read_offer(canonical.encode(OFFER.to_json() | changed))


@pytest.mark.parametrize(
    "changed",
    [{"secret": "AA" * 20}, {"secret": "aa" * 19}, {"invitation": "zz" * 8}, {"identity": "a"}],
    ids=str,
)
def test_a_knock_in_another_spelling_is_refused(changed):
    with pytest.raises(MalformedMessageError):
        read_knock(canonical.encode(canonical.decode(KNOCK.to_bytes()) | changed))


def test_a_secret_does_not_print_itself():
    assert b"s" * 20 not in repr(KNOCK).encode() and "ssss" not in repr(KNOCK)


def test_an_enrolment_is_read_as_it_was_signed():
    assert open_enrolment(WIRE, "harbour") == ENROLMENT


def test_an_enrolment_that_somebody_else_signed_is_refused():
    other = sign_enrolment(ENROLMENT, key("eu"))
    with pytest.raises(MalformedMessageError, match="not signed by the identity key"):
        open_enrolment(other, "harbour")


def test_an_enrolments_signature_is_no_signature_of_anything_else():
    body = canonical.encode(ENROLMENT.to_json())
    with pytest.raises(MalformedMessageError, match="not signed"):
        open_enrolment(key("cn").sign(body) + body, "harbour")


def test_an_enrolment_for_another_federation_is_refused():
    with pytest.raises(MisdirectedMessageError):
        open_enrolment(WIRE, "another")


@given(st.integers(0, len(WIRE) - 1), st.integers(1, 255))
def test_an_altered_enrolment_is_refused(place, by):
    altered = bytearray(WIRE)
    altered[place] ^= by
    with pytest.raises(MalformedMessageError):
        open_enrolment(bytes(altered), "harbour")


@pytest.mark.parametrize(
    "changed",
    [{"card": "a" * 63}, {"invitation": "A" * 16}, {"request": "r" * 5000}, {"version": 2}],
    ids=str,
)
def test_an_enrolment_of_another_form_is_refused(changed):
    body = canonical.encode(ENROLMENT.to_json() | changed)
    wire = key("cn").sign(b"entrepot enrolment/1\n" + body) + body
    with pytest.raises(MalformedMessageError):
        open_enrolment(wire, "harbour")


def test_a_huge_enrolment_is_not_read():
    with pytest.raises(MalformedMessageError, match="longer"):
        open_enrolment(b"s" * SIGNATURE_SIZE + b"[" * 40_000, "harbour")


# -- words -----------------------------------------------------------------------------------------


def test_the_words_are_the_published_list_and_told_apart_by_four_letters():
    listed = word_list()
    text = "".join(f"{word}\n" for word in listed).encode()
    assert hashlib.sha256(text).hexdigest() == (
        "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    )
    assert len(listed) == 2048 == len({word[:4] for word in listed})


def test_six_words_are_the_first_66_bits_of_a_dear_hash():
    data = canonical.encode(["a", 1])
    digest = hashlib.scrypt(data, salt=b"entrepot check words/1", n=2**14, r=8, p=1, dklen=9)
    bits = "".join(f"{byte:08b}" for byte in digest)
    wanted = [word_list()[int(bits[11 * n : 11 * n + 11], 2)] for n in range(6)]
    assert list(check_words("a", 1)) == wanted


def test_every_part_of_an_entry_changes_its_words():
    host = OFFER.host
    parts = [ENROLMENT, "a certificate", "an authority", host, ""]
    seen = {words_of(*parts)}
    others = [
        [replace(ENROLMENT, invitation="f" * 16), *parts[1:]],
        [replace(ENROLMENT, member=member("cn", "Ningbo", Role.WAREHOUSE, "x")), *parts[1:]],
        [ENROLMENT, "another", *parts[2:]],
        [*parts[:2], "another", *parts[3:]],
        [*parts[:3], replace(host, identity=key("x").verify_key), ""],
        [*parts[:3], replace(host, sealing=sealing("x")), ""],
        [replace(ENROLMENT, member=replace(ENROLMENT.member, sealing=sealing("x"))), *parts[1:]],
        [*parts[:4], "c" * 64],
    ]
    for other in others:
        seen.add(words_of(*other))
    assert len(seen) == len(others) + 1


# -- consent ---------------------------------------------------------------------------------------


def test_consent_is_signed_kept_and_read_again(tmp_path: Path):
    assert agreed(tmp_path, key("cn").verify_key) is None
    made = agree(tmp_path, PartyId("cn"), {"law": "x"}, 7, key("cn"))
    assert agreed(tmp_path, key("cn").verify_key) == made
    assert made.card == canonical.digest_bytes((tmp_path / "card.json").read_bytes())
    with pytest.raises(NodeSettingsError):
        agreed(tmp_path, key("eu").verify_key)


@given(st.integers(0, 150), st.integers(1, 255))
def test_an_altered_consent_is_refused(place, by):
    body = canonical.encode({"version": 1, "party": "cn", "card": "a" * 64, "at": 7})
    wire = bytearray(key("cn").sign(b"entrepot consent to a policy card/1\n" + body) + body)
    wire[place] ^= by
    with pytest.raises(NodeSettingsError):
        read_consent(bytes(wire), key("cn").verify_key)


def test_who_joined_may_say_which_card_was_agreed_to():
    body = {
        "party": "cn",
        "role": "warehouse",
        "jurisdiction": "CN",
        "identity": "a" * 64,
        "epoch": 1,
        "contact": "",
    }
    for one in (body, body | {"card": "b" * 64}):
        entry = Entry(EntryKind.JOINED, 1, "", one)
        assert decode(encode(entry)) == entry
    for wrong in ({"card": ""}, {"card": "x"}, {"more": "b" * 64}):
        with pytest.raises(Exception, match="entry 'joined' has"):
            Entry(EntryKind.JOINED, 1, "", body | wrong)
