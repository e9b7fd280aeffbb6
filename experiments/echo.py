"""A node that answers every request with itself, for measuring and testing the transport.

    python -m experiments.echo 127.0.0.1:9443 NODE_FOLDER

A request `sleep SECONDS …` is answered late, a request `boom …` raises. Each request that is
computed (not repeated from memory) adds a line to `computed.log` in the folder.
"""

import logging
import sys
import threading
import time
from pathlib import Path

from clients.serve import ServeSettings, serve
from federation.control.supervise import exit_with_parent


def main(address: str, folder: Path) -> None:
    """The node has answered until it was told to stop. `ca.crt` stands beside its folder."""

    def echo(payload: bytes) -> bytes:
        with (folder / "computed.log").open("ab") as log:
            log.write(payload[:64].split(b"\0")[0] + b"\n")
        words = payload[:64].split()
        if words[:1] == [b"sleep"]:
            time.sleep(float(words[1]))
        if words[:1] == [b"boom"]:
            raise ValueError("amount=4711.00")
        return payload

    settings = ServeSettings(
        address=address,
        ca=folder.parent.parent / "aggregator" / "keys" / "ca.crt",
        key=folder / "flower",
        folder=folder,
        capture=folder / "sent.cap",
    )
    serve(settings, echo, threading.Event())


if __name__ == "__main__":
    exit_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    main(sys.argv[1], Path(sys.argv[2]))
