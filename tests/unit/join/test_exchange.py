"""A member's streams get another key by its identity key's word; the old one opens none after."""

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.register import Register
from clients import renewal, rotation, stream_tls
from clients.admitting import calls_of
from clients.calling import TurnedAwayError
from clients.certificate import require_shown
from clients.settings import NodeSettings, load_settings
from federation.errors import MalformedMessageError
from federation.exchanges import is_exchange, open_exchange, sign_exchange
from secure_compute.errors import BadSignatureError, LocalProtocolError
from secure_compute.primitives.authority import request_certificate
from secure_compute.primitives.certificates import read_client_certificate
from secure_compute.primitives.node_keys import create_stream_key
from tests.joins import Harbour, founded
from tests.rosters import key, member

PAIR = ("stream.key", "stream.crt")
REQUEST = b"-----BEGIN CERTIFICATE REQUEST-----\n"
PIN = "a" * 64


@pytest.fixture(scope="module")
def harbour(tmp_path_factory) -> Iterator[Harbour]:
    with founded(tmp_path_factory.mktemp("exchanged")) as made:
        yield made


@pytest.fixture
def settings(harbour: Harbour) -> NodeSettings:
    settings = load_settings(harbour.node("cn"))
    for name in (renewal.NEXT_KEY, renewal.NEXT_CERTIFICATE):
        (settings.folder / "keys" / name).unlink(missing_ok=True)
    return settings


def public(settings: NodeSettings) -> bytes:
    pem = (settings.folder / "keys" / "stream.crt").read_bytes()
    return read_client_certificate(pem, settings.ca.read_bytes()).key


def pair(settings: NodeSettings) -> tuple[bytes, ...]:
    return tuple((settings.folder / "keys" / name).read_bytes() for name in PAIR)


def put(settings: NodeSettings, files: tuple[bytes, ...]) -> None:
    for name, content in zip(PAIR, files, strict=True):
        (settings.folder / "keys" / name).write_bytes(content)


def wish(settings: NodeSettings, old: bytes, signer=None) -> bytes:
    asked = request_certificate(settings.folder / "keys" / renewal.NEXT_KEY, settings.party)
    signer = signer or settings.identity
    return sign_exchange(asked, old, settings.party, settings.pin, signer)


def test_the_new_key_opens_streams_and_the_old_one_none_after(settings: NodeSettings) -> None:
    old, before = pair(settings), public(settings)
    rotation.begin(settings)
    assert renewal.exchange(settings, calls_of(settings))
    assert public(settings) != before and require_shown(settings) is not None
    assert not list((settings.folder / "keys").glob("stream.next*"))
    assert (settings.folder / "keys" / "stream.key").stat().st_mode & 0o077 == 0
    new = pair(settings)
    put(settings, old)
    assert calls_of(settings).look()  # the new one was not shown yet: it may be lost
    put(settings, new)
    assert calls_of(settings).look()
    put(settings, old)
    with pytest.raises(TurnedAwayError, match="gave this key up"):
        calls_of(settings).look()
    put(settings, new)
    assert not renewal.exchange(settings, calls_of(settings))


def test_a_node_shows_its_new_key_at_once(settings: NodeSettings) -> None:
    old, stop = pair(settings), threading.Event()
    rotation.begin(settings)
    stop.wait = lambda _: stop.set()
    renewal.keep_renewed(settings, stop)
    new = pair(settings)
    assert new != old
    put(settings, old)
    with pytest.raises(TurnedAwayError, match="gave this key up"):
        calls_of(settings).look()
    put(settings, new)


def test_key_and_certificate_are_read_together(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "take_up", lambda _: None)
    rotation.begin(settings)
    assert renewal.exchange(settings, calls_of(settings))
    monkeypatch.undo()
    old = pair(settings)
    with stream_tls.PAIR:
        taking = threading.Thread(target=renewal.take_up, args=(settings.folder,))
        taking.start()
        taking.join(0.3)
        assert pair(settings) == old
    taking.join()
    assert pair(settings) != old and require_shown(settings) is not None


def test_two_that_take_it_up_at_once_are_one_after_the_other(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewing thread, and the node that follows the one of before."""
    monkeypatch.setattr(renewal, "take_up", lambda _: None)
    rotation.begin(settings)
    assert renewal.exchange(settings, calls_of(settings))
    monkeypatch.undo()
    failed: list[Exception] = []

    def second() -> None:
        try:
            renewal.take_up(settings.folder)
        except FileNotFoundError as why:
            failed.append(why)

    beside = threading.Thread(target=second)
    real = renewal.at_rest.write

    def beginning(*words: object) -> None:
        monkeypatch.undo()
        beside.start()
        beside.join(0.3)  # time to look whether there is one
        real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(renewal.at_rest, "write", beginning)
    renewal.take_up(settings.folder)
    beside.join()
    assert failed == []
    assert calls_of(settings).look()


def test_an_older_key_that_arrives_late_undoes_no_exchange(tmp_path: Path) -> None:
    register, party = Register(tmp_path), member("cn", "Ningbo").party
    register.exchange(party, b"1", b"0")
    register.exchange(party, b"2", b"1")
    register.arrived(party, b"1")
    assert register.exchanged(party) == (b"2", b"1")
    register.arrived(party, b"2")
    assert register.exchanged(party) == (b"2", None)


def test_an_exchange_whose_answer_was_lost_is_made_again(settings: NodeSettings) -> None:
    rotation.begin(settings)
    calls_of(settings).renew(wish(settings, public(settings)))
    (settings.folder / "keys" / renewal.NEXT_KEY).unlink()
    rotation.begin(settings)
    assert renewal.exchange(settings, calls_of(settings))
    assert calls_of(settings).look()


def test_bad_without_the_identity_key_no_key_is_exchanged(settings: NodeSettings) -> None:
    before = public(settings)
    with pytest.raises(TurnedAwayError, match="not signed by key"):
        calls_of(settings).renew(wish(settings, before, key("thief")))
    assert calls_of(settings).look()


def test_bad_an_exchange_that_was_heard_takes_nobody_back(settings: NodeSettings) -> None:
    first = public(settings)
    heard = wish(settings, first)
    assert renewal.exchange(settings, calls_of(settings))
    assert calls_of(settings).look() and public(settings) != first
    with pytest.raises(TurnedAwayError, match="not signed by key"):
        calls_of(settings).renew(heard)


@pytest.mark.parametrize("done", [(), ("stream.key",), PAIR])
def test_a_new_key_that_was_cut_off_is_taken_up_at_the_next_start(
    settings: NodeSettings, done: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "take_up", lambda _: None)
    rotation.begin(settings)
    assert renewal.exchange(settings, calls_of(settings))
    monkeypatch.undo()
    keys = settings.folder / "keys"
    for name, new in zip(PAIR, (renewal.NEXT_KEY, renewal.NEXT_CERTIFICATE), strict=True):
        if name in done:
            (keys / name).write_bytes((keys / new).read_bytes())
    renewal.take_up(settings.folder)
    ssl.create_default_context().load_cert_chain(keys / "stream.crt", keys / "stream.key")
    assert public(settings) == create_stream_key(keys / "stream.key")
    assert calls_of(settings).look() and not list(keys.glob("stream.next*"))


def test_bad_a_certificate_of_another_key_is_not_kept(settings: NodeSettings) -> None:
    own, before = (settings.folder / "keys" / "stream.crt").read_bytes(), pair(settings)

    class Calls:
        def renew(self, _: bytes) -> bytes:
            return own

    rotation.begin(settings)
    with pytest.raises(LocalProtocolError, match="not of this node's new key"):
        renewal.exchange(settings, Calls())  # type: ignore[arg-type]
    assert pair(settings) == before


# -- what is signed --------------------------------------------------------------------------------


def test_an_exchange_opens_to_the_request_and_a_renewal_is_none(tmp_path: Path) -> None:
    wire = sign_exchange(REQUEST, b"old", member("cn", "Ningbo").party, PIN, key("cn"))
    assert is_exchange(wire) and not is_exchange(REQUEST)
    assert open_exchange(wire, b"old", member("cn", "Ningbo"), PIN) == REQUEST


@pytest.mark.parametrize(
    ("old", "pin", "who"), [(b"new", PIN, "cn"), (b"old", "b" * 64, "cn"), (b"old", PIN, "eu")]
)
def test_bad_an_exchange_is_good_for_one_key_federation_and_party(old, pin, who) -> None:
    wire = sign_exchange(REQUEST, b"old", member("cn", "Ningbo").party, PIN, key("cn"))
    with pytest.raises(BadSignatureError):
        open_exchange(wire, old, member(who, "Ningbo", seed="cn"), pin)


@pytest.mark.parametrize("wire", [b"", b"x" * 64, b"x" * 64 + b"no request"])
def test_bad_what_asks_for_nothing_is_refused(wire: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="asks for no certificate"):
        open_exchange(wire, b"old", member("cn", "Ningbo"), PIN)
