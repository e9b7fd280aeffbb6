"""The outbox: the first reply under a key stays for ever, on disk."""

import subprocess
import sys

from clients.outbox import Outbox


def test_the_first_reply_stays(tmp_path):
    path = tmp_path / "outbox.sqlite"
    assert Outbox(path).reply("key") is None
    assert Outbox(path).keep("key", b"first") == b"first"
    assert Outbox(path).keep("key", b"second") == b"first"
    assert Outbox(path).reply("key") == b"first"


def test_an_empty_reply_is_a_reply(tmp_path):
    assert Outbox(tmp_path / "outbox.sqlite").keep("key", b"") == b""
    assert Outbox(tmp_path / "outbox.sqlite").reply("key") == b""


def test_the_first_accepted_order_stays(tmp_path):
    path = tmp_path / "outbox.sqlite"
    assert Outbox(path).accepted("order") is None
    Outbox(path).accept("order", b"signed")
    Outbox(path).accept("order", b"other")
    assert Outbox(path).accepted("order") == b"signed"


DYING = """
import os, sys
from pathlib import Path
from clients.outbox import Outbox
Outbox(Path(sys.argv[1])).keep("key", b"reply")
os.kill(os.getpid(), 9)
"""


def test_what_was_kept_survives_a_kill(tmp_path):
    path = tmp_path / "outbox.sqlite"
    done = subprocess.run([sys.executable, "-c", DYING, str(path)], check=False)
    assert done.returncode == -9
    assert Outbox(path).reply("key") == b"reply"
