"""Encrypted sums: exact, never wrapped, and foreign bytes stopped before the library sees them."""

import hashlib

import pytest

from secure_compute.errors import BadSignatureError, LocalProtocolError, PeerProtocolError
from secure_compute.hequery import combiner, holder, keyholder
from secure_compute.hequery.messages import Commitment, KeyOffer, Sealed
from secure_compute.hequery.params import QUERY_128
from secure_compute.hequery.scheme import PublicKey, SecretKey
from secure_compute.hequery.wire import require_ciphertext, require_public_key
from secure_compute.primitives.signature import SigningKey

PARTIES = [f"node-{number:02}" for number in range(50)]
KEYS = {party: SigningKey(hashlib.sha256(party.encode()).digest()) for party in PARTIES}


def verify(party: str, signature: bytes, data: bytes) -> None:
    KEYS[party].verify_key.verify(signature, data)


@pytest.fixture(scope="module")
def secret():
    return SecretKey.generate()


@pytest.fixture(scope="module")
def public(secret):
    return secret.public()


def seal(party, values, public, query="q1", plan="p1", reach=2**50):
    return holder.seal(
        values,
        query=query,
        party=party,
        plan=plan,
        public=public,
        cohort=len(PARTIES),
        reach=reach,
        sign=KEYS[party].sign,
    )


def approval(public, width, cohort=PARTIES, minimum=3):
    key = hashlib.sha256(public.wire).hexdigest()
    return keyholder.Approval(
        query="q1", plan="p1", key=key, cohort=tuple(cohort), minimum=minimum, width=width
    )


def admit(public, parts, organisation=str, **changes):
    width = parts[0].commitment.width
    return keyholder.admit(approval(public, width, **changes), parts, verify, organisation)


def test_fifty_parties_sum_exactly_with_negatives(secret, public):
    vectors = [
        [(-1) ** n * (2**50 - n), n, -n * 10**12, 0, -(2**50)] for n, _ in enumerate(PARTIES)
    ]
    parts = [seal(p, v, public) for p, v in zip(PARTIES, vectors, strict=True)]
    opened = keyholder.open_sum(secret, admit(public, parts))
    assert opened.values == tuple(map(sum, zip(*vectors, strict=True)))
    assert opened.contributors == tuple(PARTIES)


def test_the_combiner_adds_without_a_secret(secret, public):
    parts = [seal(party, [5, -7], public) for party in PARTIES[:3]]
    assert secret.open_sum([combiner.add(parts, public)], 2) == (15, -21)
    assert not hasattr(public, "open_sum")


def test_the_largest_sum_is_exact_at_both_ends(secret, public):
    edge = QUERY_128.largest
    wire = public.encrypt([edge, -edge])
    assert secret.open_sum([wire], 2) == (edge, -edge)


def test_what_could_wrap_is_refused(public):
    with pytest.raises(LocalProtocolError, match="wrap"):
        seal(PARTIES[0], [1], public, reach=2**58)
    with pytest.raises(LocalProtocolError, match="wrap"):
        public.encrypt([QUERY_128.largest + 1])
    with pytest.raises(LocalProtocolError, match="bound"):
        seal(PARTIES[0], [11], public, reach=10)
    with pytest.raises(LocalProtocolError):
        public.encrypt([])
    with pytest.raises(LocalProtocolError):
        public.encrypt([0] * (QUERY_128.slots + 1))


def test_two_contributors_or_one_organisation_are_refused(public):
    parts = [seal(party, [1], public) for party in PARTIES[:3]]
    for few in ([parts[0]], parts[:2]):
        with pytest.raises(PeerProtocolError, match="organisation"):
            admit(public, few)
    with pytest.raises(PeerProtocolError, match="1 organisations"):
        admit(public, parts, organisation=lambda _: "one")
    with pytest.raises(PeerProtocolError, match="at least 4"):
        admit(public, parts, minimum=4)
    with pytest.raises(PeerProtocolError, match="twice"):
        admit(public, [parts[0], *parts])
    with pytest.raises(PeerProtocolError, match="cohort"):
        admit(public, parts, cohort=PARTIES[:2])


def test_a_substituted_ciphertext_is_refused(public):
    parts = [seal(party, [1], public) for party in PARTIES[:3]]
    other = seal(PARTIES[0], [99], public)
    swapped = Sealed(parts[0].commitment, parts[0].signature, other.ciphertext)
    with pytest.raises(PeerProtocolError, match="committed"):
        admit(public, [swapped, *parts[1:]])
    forged = Sealed(other.commitment, parts[0].signature, other.ciphertext)
    with pytest.raises(BadSignatureError):
        admit(public, [forged, *parts[1:]])


@pytest.mark.parametrize("change", [{"query": "q0"}, {"plan": "p0"}])
def test_a_part_of_another_query_is_refused(public, change):
    parts = [seal(party, [1], public) for party in PARTIES[:2]]
    stale = seal(PARTIES[2], [1], public, **change)
    with pytest.raises(PeerProtocolError, match="another query"):
        admit(public, [*parts, stale])


def test_yesterdays_key_is_refused(public):
    parts = [seal(party, [1], public) for party in PARTIES[:2]]
    stale = seal(PARTIES[2], [1], SecretKey.generate().public())
    with pytest.raises(PeerProtocolError, match="key"):
        admit(public, [*parts, stale])


def test_a_part_of_another_width_is_refused(public):
    parts = [seal(party, [1, 2], public) for party in PARTIES[:2]]
    with pytest.raises(PeerProtocolError):
        admit(public, [*parts, seal(PARTIES[2], [1], public)])


def test_a_key_is_accepted_from_its_keyholder_for_its_query_only(public):
    me = PARTIES[0]
    key = hashlib.sha256(public.wire).hexdigest()
    statement = KeyOffer(query="q1", keyholder=me, key=key).statement()
    signature = KEYS[me].sign(statement)

    def accept(**changes):
        said = {"query": "q1", "keyholder": me, "verify": verify, **changes}
        return holder.accept_key(statement, signature, said.pop("public", public.wire), **said)

    assert accept().wire == public.wire
    with pytest.raises(PeerProtocolError, match="another query"):
        accept(query="q2")
    with pytest.raises(BadSignatureError):
        accept(keyholder=PARTIES[1])
    with pytest.raises(PeerProtocolError, match="not the one"):
        accept(public=SecretKey.generate().public().wire)


def test_statements_have_one_spelling():
    said = Commitment(query="q", party="a", plan="p", key="k", ciphertext="c", width=3)
    assert Commitment.read(said.statement()) == said
    offer = KeyOffer(query="q", keyholder="k", key="h")
    assert KeyOffer.read(offer.statement()) == offer
    for wrong in (b"{}", b"", said.statement() + b" ", said.statement().replace(b"3", b"true")):
        with pytest.raises(PeerProtocolError):
            Commitment.read(wrong)
    with pytest.raises(PeerProtocolError):
        KeyOffer.read(said.statement())


def test_foreign_bytes_stop_before_the_library(secret, public):
    wire = public.encrypt([1, 2, 3])
    require_ciphertext(wire, 3)
    no_sizes, two = wire[3:], wire + wire[3:]
    for bad in (
        b"",
        no_sizes,
        two,
        wire[:-1],
        wire + b"\0",
        wire[:500],
        b"\x0a\x01\x05" + wire[3:],
    ):
        with pytest.raises(PeerProtocolError):
            require_ciphertext(bad, 3)
    with pytest.raises(PeerProtocolError):
        secret.open_sum([no_sizes], 3)
    with pytest.raises(PeerProtocolError):
        secret.open_sum([wire], 4)


def test_a_key_with_a_secret_or_of_other_parameters_is_no_public_key(secret, public):
    import tenseal

    require_public_key(public.wire)
    small = tenseal.context(tenseal.SCHEME_TYPE.BFV, 4096, 1032193)
    for bad in (
        secret.to_bytes(),
        small.serialize(save_secret_key=False),
        public.wire[:-1],
        public.wire + b"\x22\x00",
        b"",
    ):
        with pytest.raises(PeerProtocolError):
            PublicKey(bad)


def test_a_secret_key_survives_storage_and_does_not_print(secret, public):
    again = SecretKey(secret.to_bytes())
    assert again.open_sum([public.encrypt([-3])], 1) == (-3,)
    assert repr(again) == "SecretKey(…)"
    with pytest.raises(LocalProtocolError):
        SecretKey(public.wire)


def test_ciphertexts_under_two_keys_do_not_become_an_answer(secret, public):
    foreign = SecretKey.generate().public().encrypt([1])
    opened = secret.open_sum([foreign, public.encrypt([1])], 1)
    assert opened != (2,)  # garbage, not a sum: why commitments name the key
