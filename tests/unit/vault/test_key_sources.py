"""Where secrets come from: never an argument, never a guess, and a sentence where there is none."""

import os
import sys

import pytest

from federation.errors import LockedVaultError
from federation.key_sources import Command, Credential, Passphrase, require_strong, source_of


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("none", None),
        ("passphrase", Passphrase()),
        ("credential:entrepot", Credential("entrepot")),
        ("command:kms decrypt 'a b'", Command("kms decrypt 'a b'")),
    ],
)
def test_settings_name_a_source(text, source):
    assert source_of(text) == source
    assert source is None or source.text == text


@pytest.mark.parametrize(
    "bad",
    [
        None,
        1,
        True,
        [],
        {},
        "",
        "None",
        "passphrase ",
        "credential:",
        "credential:../x",
        "credential:..",
        "command:",
        "command: ",
        "command:'",
        "file:keys",
    ],
)
def test_bad_sources_are_refused(bad):
    with pytest.raises(ValueError, match=r"at_rest\.key"):
        source_of(bad)


def test_a_passphrase_comes_from_a_descriptor_before_the_environment(tmp_path, monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, b"of the pipe\n")
    os.close(writing)
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", "of the environment")
    assert Passphrase().secret(tmp_path) == b"of the environment"
    monkeypatch.setenv("ENTREPOT_PASSPHRASE_FD", str(reading))
    assert Passphrase().secret(tmp_path) == b"of the pipe"
    os.close(reading)
    with pytest.raises(LockedVaultError, match="no file descriptor"):
        Passphrase().secret(tmp_path)


def test_nobody_there_to_be_asked_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("ENTREPOT_PASSPHRASE", raising=False)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(LockedVaultError, match="ENTREPOT_PASSPHRASE_FD"):
        Passphrase().secret(tmp_path)


def test_a_credential_is_a_file_of_systemds(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(LockedVaultError, match="LoadCredentialEncrypted"):
        Credential("key").secret(tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(LockedVaultError, match="LoadCredentialEncrypted=key"):
        Credential("key").secret(tmp_path)
    (tmp_path / "key").write_bytes(b"k" * 32)
    assert Credential("key").secret(tmp_path) == b"k" * 32


def test_a_program_prints_the_secret(tmp_path):
    (tmp_path / "wrapped").write_text("s" * 44)
    assert Command("cat wrapped").secret(tmp_path) == b"s" * 44
    assert Command("echo 'two words'").secret(tmp_path) == b"two words"


@pytest.mark.parametrize(
    ("line", "why"),
    [("/nowhere/kms", "No such file"), ("sh -c 'echo half; exit 3'", "it ended with 3")],
)
def test_a_program_that_fails_is_named_and_not_quoted(tmp_path, line, why):
    with pytest.raises(LockedVaultError, match=why) as said:
        Command(line).secret(tmp_path)
    assert "half" not in str(said.value)


def test_a_short_passphrase_is_refused():
    with pytest.raises(LockedVaultError, match="12"):
        require_strong(b"eleven char")
    assert require_strong(b"twelve chars") == b"twelve chars"
