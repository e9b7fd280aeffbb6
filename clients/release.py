"""Which code this node would run: the one hash that orders name and nodes compare."""

import hashlib
from functools import cache
from pathlib import Path

PACKAGES = ("clients", "federation", "policies", "secure_compute")


@cache
def code_digest() -> str:
    """Return the SHA-256 over every source and law file of the installed packages, in hex."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in {".py", ".cedar", ".cedarschema"}:
                name = path.relative_to(root).as_posix().encode()
                content = path.read_bytes()
                digest.update(len(name).to_bytes(4, "big") + name)
                digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
