"""A throw-away PostgreSQL server that listens on a socket in its own folder and nowhere else.

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

BINARIES: Final = ("initdb", "pg_ctl", "postgres")
ADDRESSES: Final = ("127.0.0.2", "127.0.0.3")
USERS: Final = ("postgres", "nobody")
MAPPED: Final = "-c dynamic_shared_memory_type=mmap"
"""Its shared memory lies in its own folder too: what lies in /dev/shm may be taken away."""


def missing() -> str:
    """Return why no server can be started here; "" where one can."""
    absent = [name for name in BINARIES if shutil.which(name) is None]
    if absent:
        return f"no PostgreSQL here: {', '.join(absent)} not found"
    if os.geteuid() == 0 and (_user() is None or shutil.which("runuser") is None):
        return "PostgreSQL does not start as root, and there is no other user to start it as"
    return ""


@contextmanager
def server(tls: ServerCertificates | None = None, port: int = 5432) -> Iterator[str]:
    """A fresh server, by its URL; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    user = _user() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    try:
        _run(user, ["initdb", "-D", str(data), "-U", "test", "-A", "trust", "-E", "UTF8"])
        ways = "-c listen_addresses=''" if tls is None else _over_tls(folder, user, tls, port)
        options = f"-k {folder} {ways} -c max_connections=20 {MAPPED}"
        start = ["pg_ctl", "-D", str(data), "-l", str(log), "-o", options, "-w", "start"]
        _run(user, start)
        try:
            at = "" if tls is None else f":{port}"
            yield f"postgresql://test@{at}/postgres?host={folder}"
        finally:
            _run(user, ["pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _over_tls(folder: Path, user: str | None, tls: ServerCertificates, port: int) -> str:
    """Write the certificates down; over TLS a password is asked for, and the log says whose."""
    write_certificates(folder, tls)
    if user is not None:
        shutil.chown(folder / "server.key", user)
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write("hostssl all all 127.0.0.0/8 scram-sha-256\n")
    files = f"-c ssl_cert_file={folder}/server.crt -c ssl_key_file={folder}/server.key"
    heard = f"-c listen_addresses={','.join(ADDRESSES)} -c port={port} -c log_connections=on"
    return f"-c ssl=on {files} {heard}"


def _user() -> str | None:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in USERS if name in known), None)


def _run(user: str | None, argv: Sequence[str]) -> None:
    whole = [] if user is None else ["runuser", "-u", user, "--"]
    done = subprocess.run(
        [*whole, *argv], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()}")
