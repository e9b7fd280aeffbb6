"""What Prometheus is told is what the folder says, at every scrape, and looking changes nothing."""

import json
import logging
import os
import sys
from urllib.request import ProxyHandler, build_opener

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families as read

from experiments.commands.metrics import command
from experiments.errors import UsageError
from experiments.metrics import exposition, serve
from federation.control.logs import WISH, JsonLines
from tests.simulator import CN, US, Simulation


@pytest.fixture
def simulation(tmp_path):
    return Simulation(tmp_path / "federation")


def told(folder):
    """Every sample: by name and the values of its labels."""
    families = read(exposition(folder))
    return {
        (sample.name.removeprefix("entrepot_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def contents(folder):
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_a_nodes_budget_is_told_as_its_books_have_it(simulation):
    folder = simulation.folder(CN)
    assert not any(name == "releases" and value for (name, *_), value in told(folder).items())
    order = simulation.query()
    simulation.put(order)
    simulation.work()
    before = contents(folder)
    samples = told(folder)
    account = simulation.account(CN, "orders")
    where = (account.subjects, account.unit, account.window)
    assert samples["epsilon_spent", *where] == account.epsilon_spent == float(order.epsilon)
    assert samples["epsilon_pending", *where] == 0
    assert samples["epsilon_limit", *where] == account.limit
    assert samples["releases", *where] == 1
    assert samples["ledger_entries",] > 0 and samples["approvals_waiting",] == 0
    assert samples["certificate_seconds",] > 86400
    assert contents(folder) == before


def test_an_aggregators_table_is_told(simulation):
    folder = simulation.home.aggregator
    simulation.put(simulation.query())
    assert told(folder)["orders", "queued"] == 1
    simulation.work()
    samples = told(folder)
    assert samples["orders", "done"] == 1 and ("orders", "queued") not in samples
    assert samples["members", "warehouse"] == 4 and samples["members", "keyholder"] == 3
    assert samples["roster_epoch",] == 1
    assert samples["question_keys_ready",] >= 0


def test_whether_a_process_runs_is_looked_up(simulation):
    folder = simulation.folder(US)
    assert told(folder)["up", "node"] == 0
    (folder / "run").mkdir()
    (folder / "run" / "node.pid").write_text(str(os.getpid()))
    samples = told(folder)
    assert samples["up", "node"] == 1 and samples["resident_bytes", "node"] > 1 << 20
    assert samples["open_files", "node"] > 0
    (folder / "run" / "node.pid").write_text("not a number")
    assert told(folder)["up", "node"] == 0


def test_nothing_but_figures_of_accounts_and_processes_is_told(simulation):
    """Every name is one of these: a metric that is new is looked at before it is told."""
    names = {name for folder in (CN, US) for name, *_ in told(simulation.folder(folder))}
    assert names == {
        *("up", "releases", "epsilon_limit", "epsilon_spent", "epsilon_pending"),
        *("ledger_entries", "approvals_waiting", "certificate_seconds"),
    }


def test_scrapes_are_answered(simulation):
    server, thread = serve(simulation.folder(CN), "127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with build_opener(ProxyHandler({})).open(url) as reply:
            text = reply.read().decode()
        assert "entrepot_epsilon_limit" in text
        with pytest.raises(UsageError, match="nothing can listen on"):
            serve(simulation.folder(CN), "127.0.0.1", server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("listen", ["9464", ":9464", "127.0.0.1:", "127.0.0.1:0", "h:99999"])
def test_no_address_is_refused(tmp_path, listen):
    (tmp_path / "node.toml").write_text("")
    words = [str(tmp_path), "--listen", listen]
    said = CliRunner().invoke(command, words, standalone_mode=False)
    assert isinstance(said.exception, UsageError) and "HOST:PORT" in str(said.exception)


def test_a_folder_that_is_neither_is_refused(tmp_path):
    with pytest.raises(UsageError, match="neither a node"):
        exposition(tmp_path)


def test_a_log_line_is_one_object():
    try:
        raise ValueError("inside")
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "", 1, "%s fell\nover", ("it",), None)
        record.exc_info = sys.exc_info()
    line = JsonLines().format(record)
    value = json.loads(line)
    assert "\n" not in line and value["text"] == "it fell\nover"
    assert value["level"] == "ERROR" and value["at"].endswith("Z") and "inside" in value["trace"]
    assert WISH == "ENTREPOT_LOG"
