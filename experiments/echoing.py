"""A handler that answers every request with itself, for measuring and testing transports.

A request `sleep SECONDS …` is answered late, a request `hold NAME …` once the file `NAME` stands in
the node's folder, and a request `boom …` raises. Each request that is computed (not repeated from
memory) adds a line to `computed.log` in the folder.
"""

import time
from collections.abc import Callable
from pathlib import Path


def echo(folder: Path) -> Callable[[bytes], bytes]:
    """Return the handler of the node with this folder."""

    def handler(payload: bytes) -> bytes:
        with (folder / "computed.log").open("ab") as log:
            log.write(payload[:64].split(b"\0")[0] + b"\n")
        match payload[:64].split():
            case [b"sleep", seconds, *_]:
                time.sleep(float(seconds))
            case [b"hold", name, *_]:
                while not (folder / name.decode()).exists():
                    time.sleep(0.02)
            case [b"boom", *_]:
                raise ValueError("amount=4711.00")
        return payload

    return handler
