"""A throw-away MariaDB server that listens on a socket in its own folder and nowhere else.

Given certificates it speaks TLS too, on two addresses that only this machine reaches.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from secure_compute.primitives.certificates import ServerCertificates, write_certificates
from tests.processes import wait_until

PLACES: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
BINARIES: Final = ("mariadbd", "mariadb-install-db")
USERS: Final = ("mysql", "nobody")
FIRST: Final = (
    "CREATE DATABASE shop",
    "CREATE USER test@localhost IDENTIFIED BY ''",
    "GRANT ALL ON *.* TO test@localhost WITH GRANT OPTION",
)
ADDRESSES: Final = ("127.0.0.2", "127.0.0.3")
READY: Final = b"ready for connections"
SECONDS: Final = 60.0


def missing() -> str:
    """Return why no server can be started here; "" where one can."""
    absent = [name for name in BINARIES if _found(name) is None]
    if absent:
        return f"no MariaDB here: {', '.join(absent)} not found"
    if os.geteuid() == 0 and _user() is None:
        return "MariaDB does not start as root, and there is no other user to start it as"
    return ""


@contextmanager
def server(tls: ServerCertificates | None = None, port: int = 0) -> Iterator[str]:
    """A fresh server with an empty database `shop`, by its URL; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    user = _user() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    try:
        ways = ["--skip-networking"] if tls is None else _over_tls(folder, user, tls, port)
        process = _start(folder, [] if user is None else [f"--user={user}"], ways)
        try:
            _wait(process, folder)
            yield f"mysql://test@localhost/shop?unix_socket={folder}/socket"
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _over_tls(folder: Path, user: str | None, tls: ServerCertificates, port: int) -> Sequence[str]:
    """Write the certificates down; `general` in the folder will say who was let in or refused."""
    write_certificates(folder, tls)
    if user is not None:
        shutil.chown(folder / "server.key", user)
    files = {"ca": "ca.crt", "cert": "server.crt", "key": "server.key"}
    return [
        *(f"--ssl-{word}={folder / name}" for word, name in files.items()),
        f"--port={port}",
        f"--bind-address={','.join(ADDRESSES)}",
        "--skip-name-resolve",
        "--general-log",
        f"--general-log-file={folder / 'general'}",
    ]


def _start(folder: Path, owner: Sequence[str], ways: Sequence[str]) -> "subprocess.Popen[bytes]":
    data, first = [f"--datadir={folder / 'data'}", f"--tmpdir={folder}"], folder / "first.sql"
    first.write_text("".join(f"{statement};\n" for statement in FIRST))
    first.chmod(0o644)
    made = subprocess.run(
        [str(_found(BINARIES[1])), "--no-defaults", *data, *owner, "--skip-test-db"],
        cwd="/",
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise RuntimeError(f"{BINARIES[1]} ended with {made.returncode}: {made.stderr.strip()}")
    words = [*ways, f"--socket={folder / 'socket'}", f"--init-file={first}"]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [str(_found(BINARIES[0])), "--no-defaults", *data, *owner, *words],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _wait(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait until the first statements have run: the socket is there before."""

    def ready() -> bool:
        said = (folder / "log").read_bytes()
        if process.poll() is not None:
            raise RuntimeError(f"MariaDB did not start: {said[-2000:].decode()}")
        return READY in said

    wait_until(ready, SECONDS, "MariaDB is ready")


def _found(name: str) -> str | None:
    return shutil.which(name, path=PLACES)


def _user() -> str | None:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in USERS if name in known), None)
