"""A holder's part of a query: one noised partial into one signed ciphertext."""

from collections.abc import Callable, Sequence

from secure_compute.canonical import digest_bytes
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.hequery.messages import Commitment, KeyOffer, Sealed, Verify
from secure_compute.hequery.params import QUERY_128
from secure_compute.hequery.scheme import PublicKey


def accept_key(
    statement: bytes, signature: bytes, public: bytes, *, query: str, keyholder: str, verify: Verify
) -> PublicKey:
    """Return the key of `query` after checking that the named keyholder offered it for it.

    Raises:
        BadSignatureError: the keyholder did not sign this offer.
        PeerProtocolError: the offer is for another query, or the key is another one.
    """
    verify(keyholder, signature, statement)
    offer = KeyOffer.read(statement)
    if (offer.query, offer.keyholder) != (query, keyholder):
        raise PeerProtocolError("the key was offered for another query, or by another keyholder")
    if offer.key != digest_bytes(public):
        raise PeerProtocolError("the public key is not the one that the keyholder offered")
    return PublicKey(public)


def seal(
    values: Sequence[int],
    *,
    query: str,
    party: str,
    plan: str,
    public: PublicKey,
    cohort: int,
    reach: int,
    sign: Callable[[bytes], bytes],
) -> Sealed:
    """Return the noised partial `values`, encrypted and committed to.

    cohort, reach: parties that may take part and the largest absolute value of each: from plan and
                   order, never from the values.

    Raises:
        LocalProtocolError: a sum of so many such values could wrap, or a value is beyond `reach`.
    """
    QUERY_128.require_exact(cohort, reach)
    if any(abs(value) > reach for value in values):
        raise LocalProtocolError("a noised value is beyond the bound that the plan gives it")
    ciphertext = public.encrypt(values)
    commitment = Commitment(
        query=query,
        party=party,
        plan=plan,
        key=digest_bytes(public.wire),
        ciphertext=digest_bytes(ciphertext),
        width=len(values),
    )
    return Sealed(commitment, sign(commitment.statement()), ciphertext)
