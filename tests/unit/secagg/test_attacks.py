"""What a curious aggregator tries on nodes that follow the protocol, alone or with colluders.

The first attack works on a node without a limit in phase A: with nobody's help the aggregator reads
one party's vector.
"""

from itertools import permutations

import numpy as np
import pytest

from secure_compute.errors import RefusedRequestError
from secure_compute.secagg.messages import Kind, Request
from tests.curious import Curious
from tests.masked import cohort, kept_noise, vectors


def begun(organisations=10, colluding=3, with_=(), **more):
    """Everybody uploads, and the aggregator has it all."""
    made = cohort(organisations, colluding, **more)
    inputs = vectors(made)
    uploads = [made.submit(party, vector) for party, vector in inputs.items()]
    return made, inputs, Curious(made, uploads, with_)


def open_everything(spy, survivors):
    """Certify a set and open it, as far as nodes let it."""
    for kind in (Kind.CERTIFY, Kind.OPEN):
        for party in survivors:
            if party not in spy.corrupt:
                request = spy.cohort.request(kind, survivors)
                spy.ask(party, spy.certified(survivors) if kind is Kind.OPEN else request)


def sets_for(victim, others, size):
    """Ways to tell a victim that so many others dropped out, at once or one after another."""
    yield [others]
    yield [others[:end] for end in range(1, len(others) + 1)]
    yield [(other,) for other in others]
    yield [others[at : at + size] for at in range(0, len(others), size)]


@pytest.mark.parametrize("way", range(4))
def test_the_aggregator_alone_does_not_open_one_node(way):
    made, inputs, spy = begun()
    victim, *others = made.terms.cohort
    told = list(sets_for(victim, tuple(others), made.terms.parameters.dropouts))[way]
    for dropped in told:
        spy.ask(victim, made.request(Kind.REVEAL, set(made.terms.cohort) - set(dropped)))
    open_everything(spy, made.terms.cohort)
    stripped, whole = spy.strip(victim), inputs[victim] + kept_noise(made, victim, ())
    assert stripped is None or not np.array_equal(stripped, whole), "the aggregator read it"
    assert stripped is None
    assert len({peer for _, peer in spy.seeds}) <= made.terms.parameters.dropouts


def test_the_attack_reads_the_vector_once_it_has_the_seeds():
    """So a refusal is what stops it: nothing else is missing."""
    made, inputs, spy = begun()
    victim, *_ = made.terms.cohort
    for pair in made.nodes[victim].round.pairs:
        spy.seeds[victim, pair.party] = pair.mask
    open_everything(spy, made.terms.cohort)
    assert np.array_equal(spy.strip(victim), inputs[victim] + kept_noise(made, victim, ()))


@pytest.mark.parametrize(("organisations", "colluding"), [(4, 1), (5, 2), (7, 1), (7, 3), (8, 3)])
def test_with_its_colluders_it_opens_one_sum_and_no_part_of_it(organisations, colluding):
    corrupt = [f"node-{i:03}" for i in range(colluding)]
    for first in range(organisations - 1):
        made, _, spy = begun(organisations, colluding, corrupt)
        limit = made.terms.parameters.dropouts
        honest = spy.honest
        for turn, party in enumerate(honest):
            others = [p for p in honest if p != party]
            dropped = {others[(first + turn + k) % len(others)] for k in range(limit)}
            if turn % 2:
                spy.ask(party, made.request(Kind.REVEAL, set(made.terms.cohort) - dropped))
        open_everything(spy, made.terms.cohort)
        for group in spy.exposed_groups():
            assert group == set(honest)
            assert len(group) >= made.terms.parameters.threshold - colluding
        assert not spy.both_secrets()


def test_a_party_revealed_in_a_is_never_opened_in_b():
    made, _, spy = begun(5, 1)
    everybody, lost = made.terms.cohort, made.terms.cohort[0]
    teller = made.terms.cohort[1]
    assert spy.ask(teller, made.request(Kind.REVEAL, everybody[1:]))
    for kind in (Kind.CERTIFY, Kind.OPEN):
        signers = everybody if kind is Kind.OPEN else ()
        with pytest.raises(RefusedRequestError, match="naked"):
            made.answer(teller, made.request(kind, everybody, signers))
    assert (teller, lost) in spy.seeds
    assert not spy.both_secrets()


def test_two_sets_of_survivors_are_not_both_certified():
    made, _, spy = begun(7, 1)
    sets = [
        made.terms.cohort,
        *(tuple(p for p in made.terms.cohort if p != lost) for lost in made.terms.cohort),
    ]
    for survivors in sets:
        for party in survivors:
            spy.ask(party, made.request(Kind.CERTIFY, survivors))
    counts = [sum(u == s for u, _ in spy.signatures) for s in sets]
    assert sum(count >= made.terms.parameters.threshold for count in counts) == 1


def test_nothing_is_opened_for_two_sets():
    made, _, _ = begun(5, 1)
    everybody = made.terms.cohort
    made.answer("node-000", made.request(Kind.OPEN, everybody, everybody))
    for kind in (Kind.CERTIFY, Kind.OPEN):
        signers = everybody[:4] if kind is Kind.OPEN else ()
        with pytest.raises(RefusedRequestError, match="another set"):
            made.answer("node-000", made.request(kind, everybody[:4], signers))
    with pytest.raises(RefusedRequestError, match="phase B of this round was answered"):
        made.answer("node-000", made.request(Kind.REVEAL, everybody[:4]))
    with pytest.raises(RefusedRequestError, match="phase B of this round was answered"):
        made.answer("node-000", made.request(Kind.REVEAL, everybody))


def test_the_same_set_gets_the_same_bytes():
    made, _, _ = begun(5, 1)
    everybody = made.terms.cohort
    for kind in (Kind.REVEAL, Kind.CERTIFY, Kind.OPEN):
        signers = everybody if kind is Kind.OPEN else ()
        first = made.answer("node-000", made.request(kind, everybody, signers))
        before = made.nodes["node-000"]
        again = made.answer("node-000", made.request(kind, everybody, signers[:4]))
        assert again == first
        assert made.nodes["node-000"] == before


def test_after_certifying_no_other_set_is_revealed():
    made, _, _ = begun(7, 1)
    made.answer("node-000", made.request(Kind.CERTIFY, made.terms.cohort[:6]))
    with pytest.raises(RefusedRequestError, match="another set"):
        made.answer("node-000", made.request(Kind.REVEAL, made.terms.cohort[:5]))
    made.answer("node-000", made.request(Kind.REVEAL, made.terms.cohort[:6]))


def test_the_dropped_only_grow():
    made, _, _ = begun(7, 1)
    everybody = made.terms.cohort
    made.answer("node-000", made.request(Kind.REVEAL, everybody[:6]))
    with pytest.raises(RefusedRequestError, match="said to survive"):
        made.answer("node-000", made.request(Kind.REVEAL, (*everybody[:5], everybody[6])))
    made.answer("node-000", made.request(Kind.REVEAL, everybody[:5]))
    assert made.nodes["node-000"].round.revealed == everybody[5:]
    with pytest.raises(RefusedRequestError, match="at least 5 must"):
        made.answer("node-000", made.request(Kind.REVEAL, everybody[:4]))


@pytest.mark.parametrize("kind", [Kind.REVEAL, Kind.CERTIFY, Kind.OPEN])
def test_sets_that_are_no_partition_with_this_node_and_enough_others(kind):
    made, _, _ = begun(7, 1)
    everybody, me = made.terms.cohort, "node-000"
    cases = {
        "twice": (everybody, (everybody[6],)),
        "party stands twice": ((*everybody[:6], everybody[5]), (everybody[6],)),
        "not the cohort": (everybody[:6], ()),
        "together are not the cohort": (everybody[:6], ("stranger",)),
        "at least 5 must": (everybody[:4], everybody[4:]),
        "not among the survivors": (everybody[1:], everybody[:1]),
    }
    before = made.nodes[me]
    for why, (survivors, dropped) in cases.items():
        request = Request(kind=kind, terms=made.terms.digest, survivors=survivors, dropped=dropped)
        with pytest.raises(RefusedRequestError, match=why):
            made.answer(me, request)
        assert made.nodes[me] == before


def test_every_certificate_that_is_none():
    from secure_compute.errors import BadSignatureError

    made, _, _ = begun(7, 1)
    everybody = made.terms.cohort
    good = made.request(Kind.OPEN, everybody, everybody[:5])
    pairs = good.certificate
    other = made.request(Kind.OPEN, everybody[:6], everybody[:5]).certificate
    bad = {
        "or more, each": (pairs[:4], (), (*pairs[:4], pairs[0]), (*pairs, pairs[0])),
        "not among the survivors": ((*pairs[:4], ("stranger", pairs[4][1])),),
        "not signed": (
            (*pairs[:4], other[4]),
            (*pairs[:4], (pairs[4][0], pairs[3][1])),
            (*pairs[:4], (pairs[4][0], bytes(64))),
        ),
    }
    for why, certificates in bad.items():
        for certificate in certificates:
            request = Request(
                kind=Kind.OPEN,
                terms=good.terms,
                survivors=everybody,
                dropped=(),
                certificate=certificate,
            )
            with pytest.raises((RefusedRequestError, BadSignatureError), match=why):
                made.answer("node-000", request)
            assert not made.nodes["node-000"].round.opened
    made.answer("node-000", good)


def test_signatures_of_the_dropped_do_not_count():
    made, _, _ = begun(7, 1)
    survivors = made.terms.cohort[:6]
    with pytest.raises(RefusedRequestError, match="not among the survivors"):
        made.answer("node-000", made.request(Kind.OPEN, survivors, made.terms.cohort[2:]))


def test_an_upload_signature_or_a_reveal_is_no_certificate():
    from secure_compute.errors import BadSignatureError

    made, _, _ = begun(5, 1)
    everybody = made.terms.cohort
    revealed = [made.answer(p, made.request(Kind.REVEAL, everybody)) for p in everybody]
    request = Request(
        kind=Kind.OPEN,
        terms=made.terms.digest,
        survivors=everybody,
        dropped=(),
        certificate=tuple((m.party, m.signature) for m in revealed),
    )
    with pytest.raises(BadSignatureError):
        made.answer("node-000", request)


def test_a_mixed_certificate_cannot_thin_the_noise():
    """One set and one only is opened: no node removes layers for a set that another does not.

    If signatures in phase A were the certificate, one node could answer for (all, none) and the
    rest for (all but one, one): 1/6 + 4/5 of the noise would be left instead of all of it.
    """
    made, _, spy = begun(7, 1, ["node-006"])
    everybody, honest = made.terms.cohort, spy.honest
    for party in honest:
        spy.ask(party, made.request(Kind.CERTIFY, everybody))
    spy.ask("node-001", spy.certified(everybody))
    for party in honest[2:]:
        assert not spy.ask(party, made.request(Kind.REVEAL, everybody[1:]))
        assert not spy.ask(party, made.request(Kind.CERTIFY, everybody[1:]))
        assert not spy.ask(party, spy.certified(everybody[1:]))
    assert set(spy.sets.values()) == {everybody}


def test_every_order_of_asking_one_node_leaves_one_secret_of_each_party():
    """All sequences of three requests over the sets that matter, on one node."""
    sets = [
        tuple(p for p in cohort(4, 1).terms.cohort if p != lost)
        for lost in ("", "node-001", "node-002")
    ]
    kinds = (Kind.REVEAL, Kind.CERTIFY, Kind.OPEN)
    requests = [(kind, chosen) for kind in kinds for chosen in sets]
    made, _, _ = begun(4, 1)
    fresh = dict(made.nodes)
    for order in permutations(requests, 3):
        made.nodes = dict(fresh)
        spy = Curious(made, ())
        for kind, chosen in order:
            spy.ask("node-000", made.request(kind, chosen, chosen if kind is Kind.OPEN else ()))
        assert not spy.both_secrets()
        assert len({peer for _, peer in spy.seeds}) <= 1
        assert len(set(spy.sets.values())) <= 1
