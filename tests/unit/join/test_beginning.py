"""A federation begins with an aggregator, an authority that stays, and nobody in it."""

import os
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator.errors import AggregatorSettingsError
from aggregator.hosting import load_hosting
from aggregator.settings import load_aggregator
from experiments.beginning import Plan, begin, keep_server, open_begun
from experiments.errors import NoFederationError, UsageError
from experiments.founding import Ports
from policies.parties import Jurisdiction
from secure_compute.primitives.authority import create_server, key_pin
from secure_compute.primitives.certificates import read_client_certificate

PLAN = Plan(name="harbour", organisation="Operations", jurisdiction=Jurisdiction.EU, analyst="Desk")
PORTS = Ports(1, 2, 3, 4)


def test_nobody_is_in_it_and_what_is_secret_is_its_owners_alone(tmp_path: Path) -> None:
    begun = begin(tmp_path, PLAN, PORTS)
    hosting = begun.hosting
    assert (hosting.pin, hosting.join_port, hosting.listen) == ("", 4, "127.0.0.1")
    assert begun.analyst.organisation == "Desk"
    assert begun.analyst.identity == begun.analyst_key.verify_key
    secret = [p for p in tmp_path.rglob("*") if p.suffix in {".key", ".token", ".secret"}]
    assert {p.name for p in secret} >= {"ca.key", "server.key", "identity.key"}
    assert {p.stat().st_mode & 0o777 for p in secret} == {0o600}
    assert not (tmp_path / "nodes").exists() and not (tmp_path / "roster.bin").exists()


def test_nodes_from_outside_find_an_open_port_and_the_right_name(tmp_path: Path) -> None:
    hosting = begin(tmp_path, replace(PLAN, address="hub.example"), PORTS).hosting
    assert (hosting.listen, hosting.at(3)) == ("0.0.0.0", "hub.example:3")
    from cryptography import x509

    shown = x509.load_pem_x509_certificate(hosting.places.certificate.read_bytes())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "hub.example" in names.get_values_for_type(x509.DNSName)


def test_before_the_founding_it_is_said_that_there_is_no_roster_yet(tmp_path: Path) -> None:
    begin(tmp_path, PLAN, PORTS)
    with pytest.raises(AggregatorSettingsError, match="is not founded yet"):
        load_aggregator(tmp_path / "aggregator")


def test_a_folder_that_holds_one_is_left_alone(tmp_path: Path) -> None:
    begin(tmp_path, PLAN, PORTS)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="holds a federation already"):
        begin(tmp_path, PLAN, PORTS)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "changed",
    [
        {"colluding": 0},
        {"colluding": 10},
        {"threshold": 1},
        {"days": 0},
        {"address": "::1"},
        {"name": "har bour"},
        {"name": ""},
        {"organisation": "Operations\n"},
        {"analyst": " "},
    ],
    ids=str,
)
def test_what_makes_no_federation_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        begin(tmp_path, replace(PLAN, **changed), PORTS)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_beginning_cut_off_goes_on_with_the_same_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.fsync, [7]

    def cutting(handle: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        real(handle)

    monkeypatch.setattr(os, "fsync", cutting)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path, PLAN, PORTS)
    monkeypatch.undo()
    with pytest.raises(NoFederationError):
        open_begun(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("[!.]*.key")}
    begin(tmp_path, PLAN, PORTS)
    assert before and all(p.read_bytes() == content for p, content in before.items())


def test_a_servers_certificate_that_ends_soon_is_made_anew_for_its_key(tmp_path: Path) -> None:
    hosting = begin(tmp_path, PLAN, PORTS).hosting
    path, ca = hosting.places.certificate, hosting.places.ca.read_bytes()
    fresh = path.read_bytes()
    keep_server(hosting)
    assert path.read_bytes() == fresh
    long_ago = datetime.now(UTC) - timedelta(days=700)
    create_server(hosting.authority, path.parent, long_ago, (hosting.address,))
    keep_server(hosting)
    until = read_client_certificate(path.read_bytes(), ca).until
    assert until > datetime.now(UTC) + timedelta(days=800)
    assert key_pin(path.read_bytes()) == key_pin(fresh)


@pytest.mark.parametrize(
    ("name", "value"),
    [("jurisdiction", "XX"), ("join_port", -1), ("join_port", "4"), ("certificate_days", 0)],
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, name: str, value: object) -> None:
    import tomli_w

    from aggregator.errors import AggregatorSettingsError

    begin(tmp_path, PLAN, PORTS)
    path = tmp_path / "aggregator" / "aggregator.toml"
    said = tomllib.loads(path.read_text(encoding="utf-8"))
    path.write_text(tomli_w.dumps(said | {name: value}), encoding="utf-8")
    with pytest.raises(AggregatorSettingsError):
        load_hosting(tmp_path / "aggregator")
