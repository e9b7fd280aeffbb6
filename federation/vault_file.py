"""`vault.json`: a folder's master key, wrapped under what each source's secret opens.

    {"version": 1, "whose": "acme @ lanes", "converting": false,
     "wraps": [{"source": "passphrase", "salt": hex, "cost": n of scrypt or 0, "wrapped": hex}]}

Another passphrase, or another source, is another wrap of the same master key: no file is sealed
anew. Whose folder it is, the source and the cost are bound into every wrap.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from federation.errors import LockedVaultError
from federation.key_sources import Unwrapper
from secure_compute.errors import UnopenedError
from secure_compute.primitives.derivation import KEY_SIZE
from secure_compute.primitives.vault import (
    SALT_SIZE,
    SCRYPT_COST,
    Vault,
    extracted,
    stretched,
)

NAME: Final = "vault.json"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Wrap:
    """The master key under one source's secret. cost: n of scrypt; 0: nothing was stretched."""

    source: str
    salt: bytes
    cost: int
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class VaultFile:
    """What `vault.json` says.

    whose:      the party and its federation.
    converting: whether files of the folder may still be plain, since sealing them was cut off.
    """

    whose: str
    wraps: tuple[Wrap, ...]
    converting: bool = False

    def to_bytes(self) -> bytes:
        """Return the file."""
        wraps = [
            {"source": w.source, "salt": w.salt.hex(), "cost": w.cost, "wrapped": w.wrapped.hex()}
            for w in self.wraps
        ]
        head = {"version": VERSION, "whose": self.whose, "converting": self.converting}
        return json.dumps({**head, "wraps": wraps}, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> "VaultFile":
        """Return what a file says.

        Raises:
            LockedVaultError: it is no such file, or one of another version.
        """
        try:
            value = json.loads(data)
            if value["version"] != VERSION:
                raise ValueError(value["version"])
            wraps = tuple(map(_wrap, value["wraps"]))
            return cls(str(value["whose"]), wraps, value["converting"] is not False)
        except (ValueError, TypeError, KeyError, RecursionError) as why:
            raise LockedVaultError(
                f"{NAME} is damaged, or of another version; restore it from a copy of this folder"
            ) from why

    def unwrapped(self, source: Unwrapper, folder: Path) -> Vault:
        """Return the vault, with the secret of one source.

        Raises:
            LockedVaultError: the file has no wrap of that source, or its secret is another.
        """
        found = next((wrap for wrap in self.wraps if wrap.source == source.text), None)
        if found is None:
            raise LockedVaultError(
                f"{folder / NAME} does not know the source {source.text!r}; let [at_rest] say "
                f"{' or '.join(repr(wrap.source) for wrap in self.wraps)}"
            )
        try:
            kek = _kek(source.secret(folder), found.salt, found.cost)
            return Vault(kek.open(_purpose(self.whose, found.source, found.cost), found.wrapped))
        except UnopenedError as why:
            what = "the passphrase" if source.weak else f"what {source.text!r} gave"
            raise LockedVaultError(
                f"{what} does not open {folder / NAME}: try again, or restore {NAME} if it was "
                "changed"
            ) from why


def wrapped(
    vault: Vault,
    whose: str,
    source: Unwrapper,
    secret: bytes,
    fresh: Callable[[int], bytes] = os.urandom,
    cost: int = SCRYPT_COST,
) -> Wrap:
    """Return the master key wrapped under a secret.

    Raises:
        LockedVaultError: the secret is too short to be one of a machine.
    """
    salt, cost = fresh(SALT_SIZE), cost if source.weak else 0
    try:
        kek = _kek(secret, salt, cost)
    except UnopenedError as why:
        raise LockedVaultError(f"{source.text!r} {why}") from why
    sealed = kek.seal(_purpose(whose, source.text, cost), vault.key, fresh)
    return Wrap(source.text, salt, cost, sealed)


def new_vault(fresh: Callable[[int], bytes] = os.urandom) -> Vault:
    """Return a vault that seals nothing yet."""
    return Vault(fresh(KEY_SIZE))


def _kek(secret: bytes, salt: bytes, cost: int) -> Vault:
    return Vault(stretched(secret, salt, cost) if cost else extracted(secret, salt))


def _purpose(whose: str, source: str, cost: int) -> str:
    return f"{NAME}:{json.dumps([whose, source, cost])}"


def _wrap(value: Any) -> Wrap:
    if type(value["cost"]) is not int:
        raise TypeError("cost")
    salt, sealed = bytes.fromhex(value["salt"]), bytes.fromhex(value["wrapped"])
    return Wrap(str(value["source"]), salt, value["cost"], sealed)
