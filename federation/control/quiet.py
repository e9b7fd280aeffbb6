"""The environment in which Flower calls nobody but its own server."""

from types import MappingProxyType

QUIET = MappingProxyType(
    {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "NO_PROXY": "*",
        "no_proxy": "*",
        "OMP_NUM_THREADS": "1",
    }
)
"""Flower reads these while it is imported: update `os.environ` with them before that."""
