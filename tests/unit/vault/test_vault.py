"""Sealed bytes open as what they were sealed as, under their key, whole; or not at all."""

import os

import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from secure_compute.errors import UnopenedError
from secure_compute.primitives.vault import (
    LEAST_COST,
    MAGIC,
    SEALED_OVERHEAD,
    Vault,
    extracted,
    is_sealed,
    stretched,
)

VAULT = Vault(bytes(range(32)))
DATA = st.binary(max_size=300)
PURPOSES = st.text(max_size=20)


@given(DATA, PURPOSES)
def test_what_is_sealed_opens_and_shows_nothing_but_its_length(data, purpose):
    sealed = VAULT.seal(purpose, data)
    assert VAULT.open(purpose, sealed) == data
    assert is_sealed(sealed) and len(sealed) == len(data) + SEALED_OVERHEAD
    assert len(data) < 8 or data not in sealed


@given(DATA, PURPOSES, st.data())
def test_any_changed_byte_is_noticed(data, purpose, draw):
    sealed = bytearray(VAULT.seal(purpose, data))
    sealed[draw.draw(st.integers(0, len(sealed) - 1))] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(UnopenedError):
        VAULT.open(purpose, bytes(sealed))


@given(DATA, st.data())
def test_anything_cut_off_is_noticed(data, draw):
    sealed = VAULT.seal("file:a", data)
    with pytest.raises(UnopenedError):
        VAULT.open("file:a", sealed[: draw.draw(st.integers(0, len(sealed) - 1))])


@given(DATA, PURPOSES, PURPOSES)
def test_one_purpose_does_not_open_as_another(data, one, other):
    sealed = VAULT.seal(one, data)
    if one == other:
        assert VAULT.open(other, sealed) == data
        return
    assert VAULT.subkey(one) != VAULT.subkey(other)
    with pytest.raises(UnopenedError):
        VAULT.open(other, sealed)


def test_another_vault_opens_nothing():
    with pytest.raises(UnopenedError):
        Vault(bytes(32)).open("file:a", VAULT.seal("file:a", b"secret"))


def test_the_format_is_gcm_with_purpose_version_and_length_bound():
    """By a second implementation, from the words of the module's docstring alone."""
    nonce, data = bytes(range(12)), b"forty-two"
    sealed = VAULT.seal("file:keys/a", data, lambda count: nonce[:count])
    cipher = AES.new(VAULT.subkey("file:keys/a"), AES.MODE_GCM, nonce=nonce)
    cipher.update(b"ENTV\x01" + len(data).to_bytes(8, "big") + b"file:keys/a")
    body, tag = cipher.encrypt_and_digest(data)
    assert sealed == MAGIC + nonce + body + tag


def test_no_nonce_comes_twice():
    assert len({VAULT.seal("a", b"")[5:17] for _ in range(1000)}) == 1000


def test_a_passphrase_is_stretched_with_its_salt():
    salt = os.urandom(32)
    assert stretched(b"a", salt, LEAST_COST) == stretched(b"a", salt, LEAST_COST)
    assert stretched(b"a", salt, LEAST_COST) != stretched(b"b", salt, LEAST_COST)
    assert stretched(b"a", salt, LEAST_COST) != stretched(b"a", bytes(32), LEAST_COST)


@pytest.mark.parametrize("cost", [0, 1, LEAST_COST - 1, LEAST_COST // 2, LEAST_COST * 3, 1 << 21])
def test_a_file_cannot_ask_for_any_work(cost):
    with pytest.raises(UnopenedError, match="scrypt"):
        stretched(b"a", bytes(32), cost)


def test_a_secret_that_could_be_guessed_is_none():
    with pytest.raises(UnopenedError, match="31 bytes"):
        extracted(b"x" * 31, bytes(32))
    assert len(extracted(b"x" * 32, bytes(32))) == 32


def test_a_vault_does_not_show_its_key():
    assert "key" not in repr(VAULT)
