"""What `entrepot doctor` looks at: findings as values, one sentence each."""

import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from experiments.home import Home, choose_folder, open_home

PINS: Final = {"flwr": "1.41.0", "tenseal": "0.3.18", "opacus": "1.6", "pycryptodome": "3."}
"""Versions whose private parts are spoken to, or whose formats are read."""

NEEDED: Final = ("torch", "dp-accounting", "cedarpy", "duckdb", "sqlglot", "hydra-core", "pandas")
FREE_GIB: Final = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `said` tells what to do where it is not well."""

    name: str
    ok: bool
    said: str

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        return {"name": self.name, "ok": self.ok, "said": self.said}


def checkup(federation: Path | None) -> list[Finding]:
    """Return every finding; a federation is looked at only where there is one."""
    findings = [_python(), *_packages(), _loopback(), _disk(choose_folder(federation))]
    if (choose_folder(federation) / "federation.toml").exists():
        findings += _federation(open_home(federation))
    return findings


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    fit = sys.version_info >= (3, 11)
    return Finding("python", fit, found if fit else f"{found}; install 3.11 or newer")


def _packages() -> Iterator[Finding]:
    for name in (*PINS, *NEEDED):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, False, "not installed; run `make setup`")
            continue
        wanted = PINS.get(name, "")
        fit = found.startswith(wanted)
        yield Finding(name, fit, found if fit else f"{found}; run `make setup` for {wanted}")


def _loopback() -> Finding:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    except OSError as why:
        return Finding("ports", False, f"no port can be opened on 127.0.0.1: {why}")
    return Finding("ports", True, f"127.0.0.1 has free ports ({port} was one)")


def _disk(folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    fit = free >= FREE_GIB
    return Finding("disk", fit, f"{free:.0f} GiB free" + ("" if fit else "; free some space"))


def _federation(home: Home) -> Iterator[Finding]:
    roster = home.roster()
    yield Finding("roster", True, f"{home.name}: {len(roster.members)} members, signature holds")
    for path in sorted({*home.folder.rglob("keys/*"), *home.folder.rglob("people/**/*.key")}):
        if path.suffix in {".key", ".secret", ".token"} or path.name == "flower":
            mode = stat.S_IMODE(path.stat().st_mode)
            where = path.relative_to(home.folder)
            if mode & 0o077:
                yield Finding("keys", False, f"{where} is readable by others; chmod 600 it")
    yield from _certificates(home)
    yield from _vaults(home)
    from experiments.running import is_running

    running = is_running(home)
    said = "running" if running else "not left running by this machine"
    yield Finding("processes", True, said)
    if running:
        yield from _reach(home)


def _certificates(home: Home) -> Iterator[Finding]:
    """What is not well with what the nodes on this machine show on their streams."""
    from clients.certificate import doubts
    from clients.errors import ClientError
    from clients.settings import load_settings

    nodes = [path for path in sorted((home.folder / "nodes").glob("*")) if path.is_dir()]
    good = True
    for node in nodes:
        try:
            settings = load_settings(node)
            found = [(settings.stream is None, said) for said in doubts(settings)]
        except (ClientError, OSError) as why:
            found = [(False, str(why))]
        good = good and not found
        yield from (Finding("streams", fit, f"{node.name}: {said}") for fit, said in found)
    if good:
        yield Finding("streams", True, f"the certificates of {len(nodes)} nodes are good")


def _vaults(home: Home) -> Iterator[Finding]:
    """Whether what lies in the folders on this machine is sealed at rest."""
    from experiments.vaults import show, spoken
    from federation.errors import LockedVaultError

    folders = [home.aggregator, *sorted((home.folder / "nodes").glob("*/"))]
    for folder in folders:
        try:
            value = show(folder)
        except LockedVaultError as why:
            yield Finding("vault", False, f"{folder.name}: {why}")
            continue
        fit = not value["vault"] or not (value["plain"] or value["cut_off"])
        yield Finding("vault", fit, f"{folder.name}: {spoken(value)}")


def _reach(home: Home) -> Iterator[Finding]:
    """Whether anybody listens where nodes connect."""
    from aggregator.settings import load_aggregator

    settings = load_aggregator(home.aggregator)
    for name, port in (("fleet", settings.fleet_port), ("stream", settings.stream_port)):
        if port is None:
            yield Finding("reach", False, f"aggregator.toml names no {name}_port")
            continue
        with socket.socket() as probe:
            probe.settimeout(1.0)
            there = probe.connect_ex(("127.0.0.1", port)) == 0
        said = f"the {name} port {port} answers" if there else f"nothing answers on {name} port"
        yield Finding("reach", there, said if there else f"{said} {port}; see aggregator/logs")
