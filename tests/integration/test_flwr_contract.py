"""The private parts of Flower that the transport stands on are what they were when it was built.

Flower is pinned to one version. When the pin moves, this is the list of what has to be looked at.
"""

import inspect
import sqlite3
from importlib.metadata import version
from pathlib import Path

import pytest
from flwr.app import RecordDict
from flwr.app.message.message import make_message
from flwr.app.metadata import Metadata
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

import aggregator.tasklink
import clients.fleet
from aggregator.superlink import NEEDED_ON, give_grace
from clients.app import bytes_in, pack


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_version_is_the_pinned_one() -> None:
    assert version("flwr") == "1.41.0"


def test_the_clients_have_the_calls_we_make() -> None:
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.supernode.fleet_http_client import FleetHttpClient

    calls = {
        FleetHttpClient: "ActivateNode DeactivateNode SendNodeHeartbeat PullMessages PushMessages "
        "PullObject PushObject ConfirmMessageReceived",
        RuntimeHttpClient: "AcquireTask PullTaskInput PushTaskOutput SendTaskHeartbeat GetNodes "
        "PullMessages PushMessages PullObject PushObject ConfirmMessageReceived",
        ControlHttpClient: "RegisterNode UnregisterNode ListNodes StartRun StopRun ListRuns",
    }
    for client, names in calls.items():
        for name in names.split():
            assert parameters(getattr(client, name)) == ["self", "request"]
        assert parameters(client.from_server_address)[:4] == [
            *("server_address", "insecure", "root_certificates", "interceptors")
        ]


def test_messages_carry_the_fields_we_set() -> None:
    from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, runtime_pb2

    fields = {
        message_pb2.ObjectTree: {"object_id", "children"},
        message_pb2.PushObjectRequest: {"node", "object_id", "session_id", "run_id"},
        message_pb2.ConfirmMessageReceivedRequest: {"node", "run_id", "message_object_id"},
        heartbeat_pb2.SendNodeHeartbeatRequest: {"node", "heartbeat_interval"},
        fleet_pb2.PullMessagesResponse: {"messages_list", "message_object_trees"},
        fleet_pb2.PushMessagesResponse: {"objects_to_push", "session_id"},
        runtime_pb2.PushAppMessagesResponse: {"objects_to_push", "session_id"},
        runtime_pb2.PullAppMessagesRequest: {"message_ids"},
        runtime_pb2.AcquireTaskRequest: {"supported_task_types"},
        runtime_pb2.PushTaskOutputRequest: {"sub_status", "details"},
    }
    for message, names in fields.items():
        assert names <= set(message.DESCRIPTOR.fields_by_name), message


def test_the_state_has_the_functions_that_enclosures_call() -> None:
    from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
    from flwr.server.superlink.utils import check_abort
    from flwr.supercore.object_store import ObjectStore

    objects = ["self", "run_id", "session_id", "object_id", "object_content"]
    assert parameters(SqlLinkState.store_object) == objects
    assert parameters(SqlLinkState.get_object) == ["self", "run_id", "object_id"]
    assert parameters(SqlLinkState.session) == ["self"]
    assert parameters(ObjectStore.delete) == ["self", "object_id"]
    assert parameters(check_abort) == ["run_id", "abort_status_list", "state"]


def test_the_middlewares_are_the_ones_we_know() -> None:
    from flwr.superlink.main import _get_middleware

    names = [getattr(item.cls, "__name__", "") for item in _get_middleware()]
    known = {getattr(cls, "__name__", "") for cls in NEEDED_ON}
    assert known | {"BaseHTTPMiddleware", "ProtobufTranslationMiddleware"} == set(names)
    assert names.index("ProtobufTranslationMiddleware") < names.index("NodeAuthMiddleware")


def test_the_configuration_has_the_fields_we_set() -> None:
    from dataclasses import fields

    from flwr.superlink.config_loader import SuperLinkLifespanConfig

    assert [field.name for field in fields(SuperLinkLifespanConfig)] == [
        *("control_address", "health_server_address", "host", "port", "insecure", "certificates"),
        *("superexec_auth_secret", "authn_plugin", "event_log_plugin", "fleet_event_log_plugin"),
        *("enable_event_log", "artifact_provider", "enable_supernode_auth", "fleet_api_type"),
        *("fleet_api_address", "simulation", "ssl_ca_certfile", "ssl_certfile", "ssl_keyfile"),
        *("database", "isolation", "runtime_dependency_install"),
    ]


@pytest.mark.parametrize("size", [0, 1, 1000, 12_000_000])
def test_one_record_of_bytes_is_one_object_below_two_whatever_its_size(size: int) -> None:
    message = make_message(Metadata(1, "", 1, 2, "", "", 1.8e9, 5.0, "train"), pack(bytes(size)))
    tree = get_object_tree(message)
    objects = {name: item.deflate() for name, item in get_all_nested_objects(message).items()}
    assert len(list(iterate_object_tree(tree))) == 3
    for only_record in (clients.fleet.only_record, aggregator.tasklink.only_record):
        record = only_record(tree)
        assert record is not None
        found = inflate_object_from_contents(record.object_id, dict(objects))
        assert bytes_in(found) == bytes(size)


def test_a_message_can_be_made_from_its_metadata() -> None:
    assert parameters(Metadata.__init__)[1:10] == [
        *("run_id", "message_id", "src_node_id", "dst_node_id", "reply_to_message_id"),
        *("group_id", "created_at", "ttl", "message_type"),
    ]
    metadata = Metadata(1, "", 1, 2, "", "", 1.8e9, 5.0, "train")
    message = make_message(metadata, RecordDict())
    message.metadata.__dict__["_message_id"] = "id"
    assert message.metadata.message_id == "id"


def test_a_run_needs_no_code_of_ours() -> None:
    from flwr.cli.config_utils import get_fab_config

    from aggregator.control_api import _bundle

    config = get_fab_config(_bundle().content)
    assert config["tool"]["flwr"]["app"]["components"]["serverapp"] == "entrepot.nothing:app"


def test_the_database_has_the_columns_that_grace_writes(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from flwr.superlink.config_loader import (
        get_federation_manager,
        get_objectstore_linkstate_factories,
    )

    path = tmp_path / "superlink.db"
    _, factory = get_objectstore_linkstate_factories(str(path), get_federation_manager())
    factory.state()
    give_grace(path, 60.0, datetime.now(UTC))
    with sqlite3.connect(path) as connection:
        tasks = {row[1] for row in connection.execute("PRAGMA table_info(task)")}
        nodes = {row[1] for row in connection.execute("PRAGMA table_info(node)")}
    assert {"active_until", "finished_at", "token"} <= tasks
    assert {"online_until", "status"} <= nodes


def test_the_online_status_is_spelled_as_grace_spells_it() -> None:
    from flwr.supercore.constant import NodeStatus

    assert NodeStatus.ONLINE == "online"
