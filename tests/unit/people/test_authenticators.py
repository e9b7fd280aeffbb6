"""An authenticator in software behind the library's own client, and the door that believes it."""

import builtins
import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePublicNumbers,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from fido2 import cbor
from fido2.ctap import CtapDevice, CtapError
from fido2.hid import CAPABILITY, CTAPHID

from aggregator.joining import joining
from clients import authenticators
from clients.authenticators import NoAuthenticatorError, NotTouchedError, Touch, answered, made
from experiments import touching
from experiments.cli import run
from experiments.errors import IntegrityError
from experiments.peoples_door import Me, open_me
from federation.people.passkeys import Site, asserted, registered
from tests.authenticator import HOST, ORIGIN, Authenticator
from tests.people import Desk
from tests.unit.people.test_person_command import Terminal

_MAKE, _GET, _INFO, _PIN = 1, 2, 4, 6
SITE = Site(HOST, ORIGIN)


class Software(CtapDevice):
    """Speaks CTAP2 as an authenticator does: with a reader of fingers, or with a PIN."""

    capabilities = CAPABILITY.CBOR

    def __init__(self, pin: str = "") -> None:
        self.inner = Authenticator()
        self.is_touched = True
        self.pin = pin
        self.asked: list[tuple[int, dict[int, Any]]] = []
        self.protocols = [1]
        self._key = generate_private_key(SECP256R1())
        self._token = os.urandom(32)

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        yield cls()

    def call(
        self, cmd: int, data: bytes = b"", event: Any = None, on_keepalive: Any = None
    ) -> bytes:
        assert cmd == CTAPHID.CBOR
        body = cbor.decode(data[1:]) if data[1:] else {}
        answer = {_INFO: self._info, _PIN: self._pin, _MAKE: self._make, _GET: self._get}[data[0]]
        if data[0] in {_MAKE, _GET}:
            self.asked.append((data[0], body))
            is_silent = body.get(5, {}).get("up") is False
            if not self.is_touched and not is_silent:
                raise CtapError(CtapError.ERR.USER_ACTION_TIMEOUT)
        return b"\0" + cbor.encode(answer(body))

    def _info(self, _: dict[int, Any]) -> dict[int, Any]:
        how = {"clientPin": True} if self.pin else {"uv": True}
        more = {6: self.protocols} if self.protocols else {}
        return {1: ["FIDO_2_0"], 3: bytes(16), 4: {"rk": True, "up": True, **how}} | more

    def _pin(self, body: dict[int, Any]) -> dict[int, Any]:
        numbers = self._key.public_key().public_numbers()
        if body[2] == 2:  # which key is the PIN sealed to?
            point = {-2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
            return {1: {1: 2, 3: -25, -1: 1, **point}}
        x, y = (int.from_bytes(body[3][name]) for name in (-2, -3))
        peer = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
        shared = hashlib.sha256(self._key.exchange(ECDH(), peer)).digest()
        cipher = Cipher(AES(shared), CBC(bytes(16)))
        if cipher.decryptor().update(body[6]) != hashlib.sha256(self.pin.encode()).digest()[:16]:
            raise CtapError(CtapError.ERR.PIN_INVALID)
        return {2: cipher.encryptor().update(self._token)}

    def _make(self, body: dict[int, Any]) -> dict[int, Any]:
        self._require_user(body[1], body.get(7, {}), body.get(8))
        return {1: "none", 2: self.inner.known(), 3: {}}

    def _get(self, body: dict[int, Any]) -> dict[int, Any]:
        self._require_user(body[2], body.get(5, {}), body.get(6))
        known = [one["id"] for one in body.get(3, [])]
        if known and self.inner.id not in known:
            raise CtapError(CtapError.ERR.NO_CREDENTIALS)
        data, signature = self.inner.signed(body[2])
        return {1: {"id": self.inner.id, "type": "public-key"}, 2: data, 3: signature}

    def _require_user(self, said: bytes, options: dict[str, bool], shown: bytes | None) -> None:
        if options.get("up") is False:  # it is only asked whether it has that passkey
            return
        if self.pin:
            assert shown == hmac.digest(self._token, said, "sha256")[:16]
        else:
            assert options["uv"]


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Software:
    found = Software()
    monkeypatch.setattr(authenticators, "connected", lambda: [found])
    return found


def touch(host: str = HOST, origin: str = ORIGIN) -> Touch:
    return Touch(host, origin, lambda _: None, lambda: "1234")


def test_what_it_says_is_what_the_server_verifies(plugged: Software) -> None:
    challenge = bytes(range(56))
    kept = registered(made(touch(), challenge, "ana", "harbour"), challenge, SITE)
    plugged.inner.counter = 7
    response = answered(touch(), challenge, [kept.id])
    assert asserted(response, challenge, SITE, kept) == 7
    assert response.keys() == {"id", "rawId", "type", "response"}
    assert json.loads(json.dumps(response)) == response


def test_its_user_is_verified_and_it_names_its_person_to_nobody_else(plugged: Software) -> None:
    made(touch(), bytes(56), "ana", "harbour")
    answered(touch(), bytes(56), [])
    (_, making), (_, asking) = plugged.asked
    assert making[7] == {"rk": True, "uv": True}
    assert asking[5] == {"uv": True}
    assert (making[2]["id"], asking[1]) == (HOST, HOST)
    assert (making[3]["name"], len(making[3]["id"])) == ("ana", 32)
    assert 3 not in asking  # none was made here: it chooses by itself


@pytest.mark.parametrize(("typed", "right"), [("1234", True), ("4321", False), ("", False)])
def test_an_authenticator_without_a_finger_asks_for_its_own_pin(
    typed: str, right: bool, plugged: Software
) -> None:
    plugged.pin, asked = "1234", replace(touch(), pin=lambda: typed)
    if right:
        kept = registered(made(asked, bytes(56), "ana", "harbour"), bytes(56), SITE)
        assert asserted(answered(asked, bytes(56), [kept.id]), bytes(56), SITE, kept) == 0
    else:
        with pytest.raises(NotTouchedError, match="PIN"):
            made(asked, bytes(56), "ana", "harbour")
        assert plugged.asked == []


def test_one_that_cannot_verify_its_user_is_refused_in_words(plugged: Software) -> None:
    plugged.protocols = []
    with pytest.raises(NotTouchedError):
        made(touch(), bytes(56), "ana", "harbour")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1"])
def test_bad_origins_are_asked_for_nothing(plugged: Software, origin: str) -> None:
    with pytest.raises(NotTouchedError):
        answered(touch(origin=origin), bytes(56), [])
    assert plugged.asked == []


def test_who_does_not_touch_it_is_told_so(plugged: Software) -> None:
    plugged.is_touched = False
    with pytest.raises(NotTouchedError, match="touch it"):
        made(touch(), bytes(56), "ana", "harbour")
    plugged.is_touched = True
    with pytest.raises(NotTouchedError):
        answered(touch(), bytes(56), ["AAAA"])  # another authenticator's


@pytest.mark.parametrize("count", [0, 2])
def test_bad_numbers_of_authenticators(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticators, "connected", lambda: [Software()] * count)
    with pytest.raises(NoAuthenticatorError, match="plug one in"):
        answered(touch(), bytes(56), [])


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def lacks(name: str, *words: Any, **more: Any) -> Any:
        if name.startswith("fido2"):
            raise ImportError(name)
        return real(name, *words, **more)

    monkeypatch.setattr(builtins, "__import__", lacks)
    with pytest.raises(NoAuthenticatorError, match=r"entrepot\[passkey\]") as why:
        answered(touch(), bytes(56), [])
    assert why.value.exit_code == 2


def test_a_passkey_is_added_and_logs_in_and_confirms_by_the_commands(
    tmp_path: Path, plugged: Software, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path)
    with joining(desk.folder):
        ana = Terminal(tmp_path / "ana", capsys)
        ana.enrol(desk, "ana", "officer", "Ningbo")
        assert ana.types("login", "--passkey")[0] == 10  # nobody knows it yet
        ana.types("login", "--code", ana.recovery[0])
        code, told = ana.types("passkey", "add", "--code", ana.recovery[1])
        assert (code, told["passkeys"]) == (0, 1)
        assert ana.types("logout")[0] == 0
        plugged.inner.counter = 1
        assert ana.types("login", "--passkey")[0] == 0, ana.said
        assert ana.types("whoami")[1]["passkeys"] == [told["id"]]
        plugged.inner.counter = 2
        assert ana.types("confirm", "--passkey")[0] == 0
        assert ana.types("confirm", "--passkey")[0] == 10  # its counter does not rise: a copy
        assert ana.types("passkey", "remove", str(told["id"]))[1]["passkeys"] == 0
        plugged.inner.counter = 3
        assert ana.types("login", "--passkey")[0] == 10


@pytest.mark.parametrize("host", ["bank.example", "127.0.0.1.evil.example", ""])
def test_a_server_that_asks_for_another_places_passkey_gets_none(
    host: str, tmp_path: Path, plugged: Software, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"challenge": "00" * 56, "host": host, "origin": f"https://{host}"}
    monkeypatch.setattr(touching, "ask", lambda *_: told)
    (tmp_path / "person.json").write_text(
        json.dumps(
            {"person": "ana", "federation": "harbour", "host": HOST, "port": 1, "pin": "00" * 32}
        )
    )
    me: Me = open_me(tmp_path)
    talk = touching.Talk(lambda _: None, lambda: "")
    for asks in (lambda: touching.login(me, talk), lambda: touching.add(me, talk, "1")):
        with pytest.raises(IntegrityError):
            asks()
    assert plugged.asked == []


def test_no_authenticator_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(authenticators, "connected", list)
    told = {"challenge": "00" * 56, "host": HOST, "origin": ORIGIN}
    monkeypatch.setattr(touching, "ask", lambda *_: told)
    kept = {"person": "ana", "federation": "harbour", "host": HOST, "port": 1, "pin": "00" * 32}
    (tmp_path / "person.json").write_text(json.dumps(kept))
    assert run(["person", "login", "--passkey", "--folder", str(tmp_path)]) == 2
    assert "plug one in" in capsys.readouterr().err
