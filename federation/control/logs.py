"""How a process says what it does: lines for people, or one JSON object a line for machines.

    ENTREPOT_LOG=json     {"at": "2026-11-29T14:03:11.123Z", "level": "INFO", "name": …, "text": …}

A line holds names of parties, orders and steps, and never a value from a row: what is said of a
failure inside a computation is its type and place, at its own node alone.
"""

import json
import logging
import os
from datetime import UTC, datetime
from typing import Final

WISH: Final = "ENTREPOT_LOG"
_PLAIN: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object for each record; a traceback stands in `trace`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC)
        value = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "name": record.name,
            "text": record.getMessage(),
        }
        value |= getattr(record, "fields", {})  # of an event that a machine tells from others
        if record.exc_info:
            value["trace"] = self.formatException(record.exc_info)
        return json.dumps(value, ensure_ascii=False)


def begin_logging() -> None:
    """This process says what it does on stderr, in the form that its environment wishes."""
    logging.basicConfig(level=logging.INFO, format=_PLAIN)
    if os.environ.get(WISH) == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
    logging.getLogger("httpx").setLevel(logging.WARNING)
