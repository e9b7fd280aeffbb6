"""The tables are Skellam noise up to the error they state, the same bytes on every machine."""

import hashlib
import hmac
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from Crypto.Cipher import AES

from secure_compute import skellam, skellam_law, skellam_table
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.seed_stream import SeedStream

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "skellam.json").read_text())
ONE = 1 << 220  # the exact law here has 220 fractional bits

VARIANCES = [
    Fraction(1, 1 << 20),
    Fraction(1, 10),
    Fraction(1),
    Fraction(7, 3),
    Fraction(20),
    Fraction(1999, 2),
    Fraction(200_000),
]
SEED = bytes(range(32))


def exact_law(variance: Fraction, reach: int) -> list[int]:
    """P(x) for x = 0 … reach in units of 2^-220: Miller's recurrence, another way than the code's.

    I_{k-1} = I_{k+1} + (2k/v) I_k, inwards from far out, scaled so that all of it sums to one.
    """
    start = reach + 200 if variance < 50 else 2 * reach + 200
    above, here, law = 0, 1 << 64, []
    for k in range(start, 0, -1):
        above, here = here, above + 2 * k * here * variance.denominator // variance.numerator
        law.append(here)
    law.reverse()
    whole = law[0] + 2 * sum(law[1:])
    return [value * ONE // whole for value in law[: reach + 1]]


def law_of(table: skellam_table.Table) -> list[int]:
    """Units of 2^-64/N that each outcome -N/2 … N/2 - 1 really has, read off the alias table."""
    units = [0] * table.cells
    for cell, (kept, other) in enumerate(
        zip(table.thresholds.tolist(), table.others.tolist(), strict=True)
    ):
        units[cell] += kept
        units[other] += skellam_table.UNIT - kept
    return units


def distance(law: dict[int, Fraction], variance: Fraction) -> Fraction:
    """Total variation between `law` and Skellam noise; what lies beyond `law` counts in full."""
    reach = max(map(abs, law))
    exact = exact_law(variance, reach)
    inside = sum(abs(p - Fraction(exact[abs(x)], ONE)) for x, p in law.items())
    outside = 1 - sum(Fraction(exact[abs(x)], ONE) for x in law)
    return (inside + outside) / 2


@pytest.mark.parametrize("variance", VARIANCES, ids=str)
def test_a_table_is_skellam_noise_up_to_the_error_it_states(variance: Fraction) -> None:
    ((_, stride, cells),) = skellam._parts(variance)
    table = skellam_table.build(variance, stride, cells)
    whole = cells * skellam_table.UNIT
    law = {
        cell - cells // 2: Fraction(units, whole)
        for cell, units in enumerate(law_of(table))
        if units
    }
    assert sum(law.values()) == 1
    off = distance(law, variance)
    assert 0 < off <= skellam.table_error(variance)
    assert distance(law, variance * Fraction(1001, 1000)) > 1000 * skellam.table_error(variance)


@pytest.mark.parametrize("variance", [Fraction(800_000), Fraction(10**7, 7)], ids=str)
def test_two_tables_add_up_to_skellam_noise(variance: Fraction) -> None:
    """The whole sum over both tables, exactly: no other argument than addition is needed."""
    (one, other) = skellam._parts(variance)
    coarse, fine = (law_of(skellam_table.build(*part)) for part in (one, other))
    stride, whole = one[1], one[2] * other[2] * skellam_table.UNIT**2
    assert stride >= 16 and other[1] == 1
    law: dict[int, int] = {}
    for y, many in enumerate(coarse, -len(coarse) // 2):
        for z, few in enumerate(fine, -len(fine) // 2):
            law[stride * y + z] = law.get(stride * y + z, 0) + many * few
    held = {x: Fraction(units, whole) for x, units in law.items() if units}
    assert sum(held.values()) == 1
    assert distance(held, variance) <= skellam.table_error(variance)


def test_the_error_stated_is_small_and_every_table_fits_its_integers() -> None:
    """Over the whole range: no table outgrows a 16-bit cell, no sum of limbs 63 bits."""
    for step in range(-20 * 8, 42 * 8 + 1):
        variance = Fraction(round(2 ** (step / 8 % 1) * 1000), 1000) * Fraction(2) ** (step // 8)
        if variance > skellam.LARGEST_VARIANCE:
            continue
        assert Fraction(1, 1 << 66) < skellam.table_error(variance) < Fraction(1, 1 << 63)
        for of, stride, cells in skellam._parts(variance):
            assert cells <= skellam_table.MOST_CELLS and stride * cells <= 1 << 27
            assert len(list(skellam_law._factors(of, stride * cells))) <= 400


@pytest.mark.parametrize("place", range(len(VECTORS["draws"])))
def test_draws_are_the_pinned_ones(place: int) -> None:
    vector = VECTORS["draws"][place]
    drawn = skellam.draw(
        Fraction(vector["variance"]), vector["size"], bytes.fromhex(vector["seed"])
    )
    assert drawn.dtype == np.int64 and drawn.shape == (vector["size"],)
    assert drawn[:8].tolist() == vector["first"]
    assert hashlib.sha256(drawn.astype("<i8").tobytes()).hexdigest() == vector["sha256"]


def test_the_stream_is_aes_in_counter_mode_under_a_derived_key() -> None:
    """Against another implementation of AES, and HKDF written out."""
    read = SeedStream(SEED, b"some purpose")
    secret = hmac.digest(bytes(32), SEED, "sha256")
    key = hmac.digest(secret, b"some purpose\x01", "sha256")
    expected = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=0).encrypt(bytes(100))
    assert read.bytes(37) + read.bytes(63) == expected
    assert SeedStream(SEED, b"another").bytes(100) != expected


def test_a_draw_reads_words_and_cells_in_blocks_of_its_stream() -> None:
    """A second reading of the stream, one draw at a time."""
    ((variance, stride, cells),) = skellam._parts(Fraction(20))
    table = skellam_table.build(variance, stride, cells)
    stream = SeedStream(SEED, b"entrepot/skellam/1 20/1")
    drawn = []
    for size in (1 << 14, 100):
        words, places = stream.bytes(8 * size), stream.bytes(2 * size)
        for i in range(size):
            cell = int.from_bytes(places[2 * i : 2 * i + 2], "little") % cells
            word = int.from_bytes(words[8 * i : 8 * i + 8], "little")
            kept = word < int(table.thresholds[cell])
            drawn.append((cell if kept else int(table.others[cell])) - cells // 2)
    assert skellam.draw(20, (1 << 14) + 100, SEED).tolist() == drawn


def test_the_same_seed_gives_the_same_bytes_and_another_seed_or_variance_others() -> None:
    for variance in (Fraction(9, 4), Fraction(10**9)):
        first, again = (skellam.draw(variance, 20_000, SEED) for _ in range(2))
        assert first.tobytes() == again.tobytes()
        other = skellam.draw(variance, 20_000, bytes(32))
        wider = skellam.draw(variance + 1, 20_000, SEED)
        for noise in (other, wider):
            assert abs(np.corrcoef(first, noise)[0, 1]) < 6 / np.sqrt(20_000)


@pytest.mark.parametrize("variance", [0, -1, Fraction(1, 1 << 21), (1 << 42) + 1])
def test_a_variance_without_a_table_is_refused(variance: Fraction | int) -> None:
    for ask in (lambda: skellam.draw(variance, 1, SEED), lambda: skellam.table_error(variance)):
        with pytest.raises(LocalProtocolError, match="variance"):
            ask()


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_a_seed_of_another_size_is_refused(seed: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="32"):
        skellam.draw(1, 1, seed)


def test_nothing_drawn_is_nothing() -> None:
    assert skellam.draw(4, 0, SEED).shape == (0,)
