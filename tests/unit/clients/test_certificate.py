"""What a node shows on its stream, looked at before a server does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator.settings import load_aggregator
from clients.certificate import doubts, require_shown, stream_settings
from clients.checking import check
from clients.inbox import Inbox, request_key
from clients.once import Once
from clients.serve import ServeSettings
from clients.settings import NodeSettings, load_settings
from clients.stream_tls import BadCertificateError, StreamSettings
from clients.worker import run
from experiments.founding import AGGREGATOR
from federation.control.captures import read_capture
from federation.covers import cover, uncover
from federation.messages import Kind
from tests.certified import Authority
from tests.simulator import CN, EU, UK, Simulation


def put(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        (folder / "keys" / f"stream.{name}").write_bytes(content)


def of_another_authority(folder: Path) -> None:
    other = Authority().client(CN)
    put(folder, crt=other.certificate, key=other.key)


def of_another_party(folder: Path) -> None:
    for name in ("stream.crt", "stream.key"):
        content = (folder.with_name(EU) / "keys" / name).read_bytes()
        (folder / "keys" / name).write_bytes(content)


def of_another_key(folder: Path) -> None:
    put(folder, key=Authority().client(CN).key)


def missing(folder: Path) -> None:
    (folder / "keys" / "stream.crt").unlink()


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "another authority's": (of_another_authority, "federation's authority"),
    "another party's": (of_another_party, f"the certificate of {EU}"),
    "another key's": (of_another_key, "do not show who this node is"),
    "none": (missing, "do not show who this node is"),
    "nonsense": (lambda folder: put(folder, crt=b"no certificate"), "do not show who"),
}


@pytest.fixture
def settings(simulation: Simulation) -> NodeSettings:
    simulation.folder(EU)
    return load_settings(simulation.folder(CN))


def test_a_founded_node_shows_its_party(settings: NodeSettings) -> None:
    shown = require_shown(settings)
    assert shown is not None and shown.party == CN
    assert doubts(settings) == []
    assert (settings.folder / "keys" / "stream.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fault", BAD)
def test_a_wrong_certificate_is_one_sentence_and_ends_the_node(
    simulation: Simulation,
    settings: NodeSettings,
    fault: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def connected(*_: object) -> None:
        raise AssertionError("the node went on to connect")

    monkeypatch.setattr("clients.worker.serve_both", connected)
    spoil, words = BAD[fault]
    spoil(settings.folder)
    for look in (require_shown, check):
        with pytest.raises(BadCertificateError, match=words):
            look(settings)
    assert run(settings.folder) == 2
    said = capfd.readouterr().out
    assert words in said and said.count("\n") == 1 and "Traceback" not in said


def test_a_certificate_that_is_over_is_refused_and_one_that_ends_soon_is_spoken_of(
    settings: NodeSettings,
) -> None:
    shown = require_shown(settings)
    assert shown is not None
    with pytest.raises(BadCertificateError, match=f"good until {shown.until:%Y-%m-%d}"):
        require_shown(settings, shown.until)
    (said,) = doubts(settings, shown.until - timedelta(days=6))
    assert "ask for another soon" in said
    assert doubts(settings, shown.until - timedelta(days=8)) == []


def test_a_key_that_others_can_read_is_spoken_of(settings: NodeSettings) -> None:
    (settings.folder / "keys" / "stream.key").chmod(0o640)
    (said,) = doubts(settings)
    assert "chmod 600" in said


def test_a_node_founded_before_streams_starts_and_says_what_it_lacks(
    simulation: Simulation,
) -> None:
    folder = simulation.folder(UK)
    text = (folder / "node.toml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("stream = ")]
    (folder / "node.toml").write_text("\n".join(lines), encoding="utf-8")
    for path in folder.glob("keys/stream.*"):
        path.unlink()
    settings = load_settings(folder)
    check(settings)
    assert stream_settings(settings) is None
    (said,) = doubts(settings, datetime.now(UTC))
    assert "names no stream" in said


@pytest.mark.parametrize("value", ["7", '"host"', '"host:port"', "[]"])
def test_a_stream_that_is_no_address_is_named(simulation: Simulation, value: str) -> None:
    folder = simulation.folder(CN)
    text = (folder / "node.toml").read_text(encoding="utf-8")
    old = next(line for line in text.splitlines() if line.startswith("stream = "))
    (folder / "node.toml").write_text(text.replace(old, f"stream = {value}"), encoding="utf-8")
    assert run(folder) == 2


def test_both_ways_capture_into_one_file_and_remember_in_one(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[ServeSettings, StreamSettings, Once]] = []
    monkeypatch.setattr(
        "clients.worker.serve_both",
        lambda flower, stream, once, _: given.append((flower, stream, once)),
    )
    folder = simulation.folder(CN)
    assert run(folder) == 0
    ((flower, stream, once),) = given
    assert flower.capture is not None and flower.capture is stream.capture
    assert (folder / "captures" / f"{CN}.cap").exists()
    assert (stream.certificate, stream.key) == (
        folder / "keys/stream.crt",
        folder / "keys/stream.key",
    )
    once.inbox.keep("a request", b"its answer", 0.0)
    inbox = Inbox(folder / "outbox.sqlite")
    kept = inbox.answer("a request")
    assert kept is not None and kept.payload == b"its answer"
    lacking = simulation.letter(Kind.LEDGER_WITNESS, CN, "")
    pin, there = simulation.home.pin, simulation.roster.find(CN)
    reply = once(cover(lacking, there, pin))
    own = load_aggregator(simulation.home.aggregator).opening
    said = simulation.read(uncover(reply, [own], AGGREGATOR, pin))
    assert said.kind is Kind.LEDGER_UNSURE
    assert list(read_capture(folder / "captures" / f"{CN}.wire")) == []  # written where it is sent
    (signed,) = read_capture(folder / "captures" / f"{CN}.cap")
    assert simulation.read(signed) == said
    assert inbox.answer(request_key(lacking)) is None  # what is so for a moment is not kept
