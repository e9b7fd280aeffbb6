"""What a million cells of fifty parties cost the aggregator, and what packing is worth.

The aggregator's work for one question, by its own functions: every commitment, signature and hash
is checked, and every ciphertext read and added to the sum. Processor time of this process; no
network and no disk. The ciphertexts of a party are one, encrypted once and repeated, each copy with
a hash of its own: adding does not see the difference, and encrypting is the parties' work. All of
them lie in memory, as at the aggregator: 2.1 GB.
"""

import importlib
import time
from typing import Final

import numpy as np

from aggregator.certifying import read_chunks, read_commitment, read_endorsement, totals
from experiments.bench_threshold import Bench
from federation.joint_keys import pack
from secure_compute.threshold import ciphertext, scheme
from secure_compute.threshold.listing import Commitment, Endorsement, Listing, listing
from secure_compute.threshold.params import SLOTS

CELLS: Final = 1_000_000
PARTIES: Final = 50
_REPETITIONS: Final = 20
_PLAIN_MODULUS: Final = 1_032_193  # of 20 bits, as in the library's own examples


def measured(cells: int = CELLS, parties: int = PARTIES) -> dict[str, float]:
    """Return processor seconds of the aggregator, and bytes that it and each verifier fetch."""
    bench = Bench(3, 2, parties, cells)
    said, blobs = _parts(bench)
    question = bench.question
    began = time.process_time()
    for name, one in said.items():
        read_commitment(question, name, one.to_bytes())
    listed = listing(question, said.values())
    checked = time.process_time() - began
    endorsements = _endorsed(bench, listed)
    began = time.process_time()
    for name, wire in endorsements.items():
        read_endorsement(listed, name, wire)
    shown = {name: read_chunks(listed, name, blob) for name, blob in blobs.items()}
    sums = totals(listed, shown)
    return {
        "cpu_s": checked + time.process_time() - began,
        "ciphertexts": float(parties * question.layout.chunks),
        "verify_mb": sum(map(len, blobs.values())) / 1e6,
        "sum_mb": sum(map(len, sums)) / 1e6,
    }


def naive() -> dict[str, float]:
    """Return bytes and milliseconds of one value by itself, as TenSEAL's users encrypt it.

    The peer, as somebody outside would use it: the product touches it in `secure_compute` alone.
    """
    library = importlib.import_module("tenseal")
    context = library.context(library.SCHEME_TYPE.BFV, SLOTS, plain_modulus=_PLAIN_MODULUS)
    took, sizes = [], []
    for value in range(_REPETITIONS):
        began = time.process_time()
        sizes.append(len(library.bfv_vector(context, [value]).serialize()))
        took.append(1e3 * (time.process_time() - began))
    return {"bytes": float(np.median(sizes)), "ms": min(took)}


def packed() -> dict[str, float]:
    """Return bytes and milliseconds of one value in a full ciphertext of ours."""
    joint, values, took = Bench(3, 2).joint, np.arange(SLOTS), []
    uniform = joint.uniform
    for _ in range(_REPETITIONS):
        began = time.process_time()
        ciphertext.to_bytes(scheme.encrypt(values, joint.public, uniform))
        took.append(1e3 * (time.process_time() - began))
    return {"bytes": ciphertext.SIZE / SLOTS, "ms": min(took) / SLOTS}


def _parts(bench: Bench) -> tuple[dict[str, Commitment], dict[str, bytes]]:
    """Return every party's commitment and its ciphertexts, packed."""
    said, blobs = {}, {}
    question, joint = bench.question, bench.joint
    for name in bench.parties:
        wire = ciphertext.to_bytes(scheme.encrypt(np.arange(SLOTS), joint.public, joint.uniform))
        places = range(question.layout.chunks)
        hashes = tuple(ciphertext.digest(wire, question.digest, name, at) for at in places)
        commitment = Commitment(question=question.digest, party=name, chunks=hashes)
        said[name] = commitment.signed(bench.identity[name].sign)
        blobs[name] = pack([wire] * question.layout.chunks)
    return said, blobs


def _endorsed(bench: Bench, listed: Listing) -> dict[str, bytes]:
    """Return every party's signature on the list."""
    question, digest = bench.question.digest, listed.digest
    return {
        name: Endorsement(question=question, party=name, listing=digest)
        .signed(bench.identity[name].sign)
        .to_bytes()
        for name in bench.parties
    }
