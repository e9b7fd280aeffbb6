"""A node that answers every request with itself, for measuring and testing the transport.

    python -m experiments.echo 127.0.0.1:9443 NODE_FOLDER

What it does with some requests stands in `experiments.echoing`.
"""

import argparse
import logging
import threading
from pathlib import Path

from clients.inbox import Inbox
from clients.once import Once, is_of_the_moment
from clients.serve import ServeSettings, serve
from experiments.echoing import echo
from federation.control.captures import Capture
from federation.control.supervise import exit_with_parent


def main(address: str, folder: Path) -> None:
    """The node has answered until it was told to stop. `ca.crt` stands beside its folder."""
    settings = ServeSettings(
        address=address,
        ca=folder.parent.parent / "aggregator" / "keys" / "ca.crt",
        key=folder / "flower",
        folder=folder,
        capture=Capture(folder / "sent.cap"),
    )
    once = Once(echo(folder), Inbox(folder / "outbox.sqlite"), is_of_the_moment)
    serve(settings, once, threading.Event())


if __name__ == "__main__":
    exit_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(prog="python -m experiments.echo", description=__doc__)
    parser.add_argument("address", help="HOST:PORT of the aggregator")
    parser.add_argument("folder", type=Path, help="the node's")
    words = parser.parse_args()
    main(words.address, words.folder)
