"""Files and processes: settings, stores, models, captures."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from aggregator import registry, safetensors, stored
from aggregator import settings as aggregator_settings
from aggregator import stores as aggregator_stores
from aggregator.cards import Card
from clients import app as client_app
from clients import settings as client_settings
from federation.vault_file import VaultFile, wrapped
from secure_compute.primitives import certificates, node_keys
from secure_compute.primitives.vault import Vault
from tests import certified
from tests.parsers.making import Parser, a_federation, a_folder, objects, of_file, of_value, values
from tests.parsers.questions import loose
from tests.simulator import CN, recipe
from tests.vaults import Given


def parsers() -> Iterator[Parser]:
    yield Parser(("aggregator.safetensors.decode",), safetensors.decode, lambda: [_stored()])
    yield Parser(
        ("aggregator.stored.decode", "aggregator.stored.load", "aggregator.registry.load_model"),
        of_file(registry.load_model, "model.safetensors"),
        lambda: [_stored()],
    )
    yield Parser(
        ("aggregator.registry.load_model",),
        of_file(registry.load_model, "model.npz"),
        lambda: [_old_model()],
    )
    yield Parser(
        ("aggregator.cards.Card.from_json",), of_value(Card.from_json), lambda: objects(_card())()
    )
    yield Parser(
        ("clients.settings.load_settings",), _settings, lambda: [_file("node.toml")], text=True
    )
    yield Parser(
        ("clients.settings.read_text",),
        of_file(client_settings.read_text, "text.toml"),
        lambda: [_file("node.toml")],
        text=True,
    )
    yield Parser(
        ("aggregator.stores.load_stores",),
        of_file(lambda path: aggregator_stores.load_stores(path.parent), "aggregator.toml"),
        lambda: [
            b'database = "postgresql://test@host/ours"\n'
            + (a_federation().home.aggregator / "aggregator.toml").read_bytes()
        ],
        text=True,
    )
    yield Parser(
        ("aggregator.settings.load_aggregator",),
        of_file(lambda path: aggregator_settings.load_aggregator(path.parent), "aggregator.toml"),
        lambda: [(a_federation().home.aggregator / "aggregator.toml").read_bytes()],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.certificates.read_client_certificate",),
        lambda pem: certificates.read_client_certificate(pem, the_authority().certificate),
        lambda: [
            the_authority().client("cn").certificate,
            the_authority().client_with("a:b").certificate,
        ],
        text=True,
    )
    yield Parser(
        ("federation.vault_file.VaultFile.from_bytes",),
        VaultFile.from_bytes,
        lambda: [_vault_file()],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.vault.Vault.open",),
        lambda data: Vault(bytes(32)).open("file:a", data),
        lambda: [Vault(bytes(32)).seal("file:a", b"secret")],
    )
    yield Parser(
        ("secure_compute.primitives.node_keys.load_node_key",),
        of_file(node_keys.load_node_key, "a.key"),
        lambda: [_node_key()],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.node_keys.public_pem",),
        node_keys.public_pem,
        lambda: [_node_key() and (a_folder() / "made" / "n.key.pub").read_bytes().strip()],
        text=True,
    )
    yield Parser(
        ("clients.app.unpack", "clients.app.bytes_in"),
        _unrecorded,
        values({"envelope": "entrepot.envelope/2"}),
    )


@cache
def _vault_file() -> bytes:
    source = Given(b"m" * 32, "credential:vault", weak=False)
    made = wrapped(Vault(bytes(32)), "acme @ lanes", source, b"m" * 32)
    return VaultFile("acme @ lanes", (made,)).to_bytes()


@cache
def the_authority() -> certified.Authority:
    return certified.Authority()


@cache
def _node_key() -> bytes:
    path = a_folder() / "made" / "n.key"
    node_keys.create_node_key(path)
    return path.read_bytes()


def _file(name: str) -> bytes:
    return (a_federation().folder(CN) / name).read_bytes()


def _settings(data: bytes) -> object:
    return of_file(lambda path: client_settings.load_settings(path.parent), "node.toml")(data)


def _card() -> Card:
    values: dict[str, Any] = {
        "run": "a1", "order": "0" * 64, "model": "demand", "round": 1, "rounds": 3, "seed": 1,
        "recipe": recipe().to_json(), "contract": "demand", "contract_version": 1,
        "unit": "commercial", "event": {"event": "made up", "count": 1},
        "epsilon": "0.1", "delta": "1e-6", "cohort": ("cn", "eu", "us"),
        "parties": ("cn", "us"), "code": "c" * 64,
    }  # fmt: skip
    return Card(**values)


@cache
def _stored() -> bytes:
    size = recipe().model.dimension
    return stored.encode(_card(), np.ones(size, np.float32), {"velocity": np.ones(size)})


@cache
def _old_model() -> bytes:
    import io

    buffer, value = io.BytesIO(), {"version": registry.VERSION, "recipe": recipe().to_json()}
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = recipe().model.dimension
    np.savez(buffer, weights=np.ones(size, np.float32), card=text)
    return buffer.getvalue()


def _unrecorded(data: bytes) -> object:
    """Records of Flower's, of whatever kinds and names the bytes say."""
    from flwr.app import ConfigRecord, MetricRecord, RecordDict

    value = loose(data)
    named = value if isinstance(value, dict) else {"envelope": value}
    records = {
        str(name): ConfigRecord({key: data}) if isinstance(key, str) else MetricRecord({"n": 1})
        for name, key in named.items()
    }
    return client_app.unpack(RecordDict(records))
