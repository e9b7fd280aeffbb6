"""What sealing costs is measured on messages that are sealed and opened, beside the same signed."""

from experiments.bench_sealing import SIZES, rows
from federation.covers import OVERHEAD
from tests.covers import SIGNED, sealed


def test_every_size_is_measured_beside_itself_unsealed() -> None:
    *costs, overhead = rows(1)
    assert [row["name"] for row in costs] == [f"sealed_{name}_ms" for name, _ in SIZES]
    assert all(row["value"] > 0 and row["peer_value"] > 0 for row in costs)
    assert overhead["value"] == OVERHEAD == len(sealed()) - len(SIGNED)
