"""A node on a stream that answers every request with itself; see `experiments.echoing`.

python -m experiments.stream_echo 127.0.0.1:9445 NODE_FOLDER
"""

import argparse
import logging
import signal
import threading
from pathlib import Path

from clients.inbox import Inbox
from clients.once import Once
from clients.stream import serve_stream
from clients.stream_tls import StreamSettings
from experiments.echoing import echo
from federation.control.captures import Capture
from federation.control.supervise import exit_with_parent


def main(address: str, folder: Path) -> None:
    """The node has answered until it was told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keys = folder / "keys"
    settings = StreamSettings(
        address,
        keys / "ca.crt",
        keys / "stream.crt",
        keys / "stream.key",
        capture=Capture(folder / "sent.cap"),
    )
    serve_stream(settings, Once(echo(folder), Inbox(folder / "outbox.sqlite")), stop)


if __name__ == "__main__":
    exit_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m experiments.stream_echo", description=__doc__)
    parser.add_argument("address", help="HOST:PORT of the aggregator")
    parser.add_argument("folder", type=Path, help="the node's")
    words = parser.parse_args()
    main(words.address, words.folder)
