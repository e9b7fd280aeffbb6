"""Where the secret comes from that opens a folder's vault: a person, systemd, or a program.

    [at_rest]
    key = "none" | "passphrase" | "credential:NAME" | "command:PROGRAM WORD ..."

A passphrase is asked for at the terminal, or read from the file descriptor whose number
ENTREPOT_PASSPHRASE_FD is, or from ENTREPOT_PASSPHRASE; never from an argument, which everybody on
the machine can read. A credential is the file that systemd laid into $CREDENTIALS_DIRECTORY. A
program prints the secret: it stands for any key management service, which unwraps there what was
wrapped there. Secrets of machines have at least 32 bytes; a line's end after them does not count.
"""

import getpass
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from federation.errors import LockedVaultError

NONE: Final = "none"
LEAST_LETTERS: Final = 12
_PROGRAM_SECONDS: Final = 60
_FORMS: Final = '"none", "passphrase", "credential:NAME" or "command:PROGRAM WORD ..."'


class Unwrapper(Protocol):
    """One source of a secret.

    text:   how settings name it.
    weak:   whether a person remembers the secret, so that it has to be stretched.
    """

    @property
    def text(self) -> str:
        """How settings name it."""
        ...

    @property
    def weak(self) -> bool:
        """Whether a person remembers the secret, so that it has to be stretched."""
        ...

    def secret(self, folder: Path) -> bytes:
        """Return the secret for the vault of a folder.

        Raises:
            LockedVaultError: it is not to be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class Passphrase:
    """What the operator knows. named: the environment's words for it, `named` and `named`_FD."""

    named: str = "ENTREPOT_PASSPHRASE"
    text: str = "passphrase"
    weak: bool = True

    def secret(self, folder: Path) -> bytes:
        """Return the passphrase as UTF-8."""
        given = os.environ.get(f"{self.named}_FD")
        if given is not None:
            return _of_descriptor(given, f"{self.named}_FD")
        if self.named in os.environ:
            return os.environ[self.named].encode()
        if not sys.stdin or not sys.stdin.isatty():
            raise LockedVaultError(
                f"nobody is there to be asked for the passphrase of {folder}: set {self.named}_FD "
                f"to a file descriptor that it can be read from, or {self.named}"
            )
        return getpass.getpass(f"Passphrase of {folder}: ").encode()


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential that systemd decrypted for this service (LoadCredentialEncrypted=)."""

    name: str
    weak: bool = False

    @property
    def text(self) -> str:
        """How settings name it."""
        return f"credential:{self.name}"

    def secret(self, folder: Path) -> bytes:
        """Return what the credential's file holds."""
        place = os.environ.get("CREDENTIALS_DIRECTORY")
        if not place:
            raise LockedVaultError(
                f"{folder} is opened with systemd's credential {self.name!r}, and this program has "
                "none: let its unit say LoadCredentialEncrypted=, or use systemd-run with it"
            )
        try:
            return _trimmed((Path(place) / self.name).read_bytes())
        except OSError as why:
            raise LockedVaultError(
                f"systemd gave no credential {self.name!r}: let the unit say "
                f"LoadCredentialEncrypted={self.name}:FILE"
            ) from why


@dataclass(frozen=True, slots=True)
class Command:
    """A program that prints the secret; it runs in the folder, with this program's rights."""

    line: str
    weak: bool = False

    @property
    def text(self) -> str:
        """How settings name it."""
        return f"command:{self.line}"

    def secret(self, folder: Path) -> bytes:
        """Return what the program printed."""
        words = shlex.split(self.line)
        try:
            said = subprocess.run(
                words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=True,
                timeout=_PROGRAM_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as why:
            raise LockedVaultError(
                f"{words[0]} gave no key for {folder}: {_reason(why)}; try it by hand there"
            ) from why
        return _trimmed(said.stdout)


def source_of(text: object) -> Unwrapper | None:
    """Return the source that settings name; None for "none".

    Raises:
        ValueError: they name none.
    """
    match text:
        case "none":
            return None
        case "passphrase":
            return Passphrase()
        case str() if text.startswith("credential:") and _is_name(text[11:]):
            return Credential(text[11:])
        case str() if text.startswith("command:") and _is_command(text[8:]):
            return Command(text[8:])
    raise ValueError(f"at_rest.key is {_FORMS}")


def require_strong(passphrase: bytes) -> bytes:
    """Return a passphrase that a vault may be made with.

    Raises:
        LockedVaultError: it is too short.
    """
    if len(passphrase.decode(errors="replace")) < LEAST_LETTERS:
        raise LockedVaultError(f"a passphrase has at least {LEAST_LETTERS} characters; take more")
    return passphrase


def _of_descriptor(given: str, named: str) -> bytes:
    try:
        with os.fdopen(int(given), "rb", closefd=False) as stream:
            return _trimmed(stream.read())
    except (OSError, ValueError) as why:
        raise LockedVaultError(f"{named} is {given!r}, no file descriptor open here") from why


def _trimmed(secret: bytes) -> bytes:
    return secret.removesuffix(b"\n").removesuffix(b"\r")


def _reason(why: Exception) -> str:
    """Return why a program failed; nothing that it printed, which might be half a secret."""
    match why:
        case subprocess.CalledProcessError(returncode=code):
            return f"it ended with {code}"
        case subprocess.TimeoutExpired():
            return f"it did not end within {_PROGRAM_SECONDS} s"
        case OSError(strerror=str(said)):
            return said
    return type(why).__name__


def _is_name(text: str) -> bool:
    return text not in {"", ".", ".."} and "/" not in text and "\0" not in text


def _is_command(text: str) -> bool:
    try:
        return bool(shlex.split(text))
    except ValueError:
        return False
