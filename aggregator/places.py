"""Where the aggregator keeps what its server needs."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from federation import at_rest


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one aggregator folder."""

    folder: Path

    @property
    def database(self) -> Path:
        """The server's SQLite database: registrations, runs, messages under way."""
        return self.folder / "superlink.db"

    @property
    def ca(self) -> Path:
        """The certificate every client of the server trusts, and no other."""
        return self.folder / "keys" / "ca.crt"

    @property
    def certificate(self) -> Path:
        """The server's own certificate."""
        return self.folder / "keys" / "server.crt"

    @property
    def certificate_key(self) -> Path:
        """The private key of the server's certificate."""
        return self.folder / "keys" / "server.key"

    @property
    def control_token(self) -> Path:
        """The bearer token of the control port."""
        return self.folder / "keys" / "control.token"

    @property
    def executor_secret(self) -> Path:
        """The secret with which our executor, and nobody else, may run the server application."""
        return self.folder / "keys" / "executor.secret"

    @property
    def flower_home(self) -> Path:
        """The folder Flower takes for its home."""
        return self.folder / "flwr"


def create_secrets(places: Places) -> None:
    """The control token and the executor secret exist, 32 random bytes each, mode 0600."""
    places.control_token.parent.mkdir(parents=True, exist_ok=True)
    for path in (places.control_token, places.executor_secret):
        if not path.exists():
            at_rest.write(path, secrets.token_hex(32).encode())
