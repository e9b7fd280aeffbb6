"""Secure sums in one process: the nodes' and the aggregator's own reducers, and no sockets.

What `entrepot simulate` adds up is masked, shared out and opened as over a network, so that its
result is one that the federation could have come to.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from federation.groups import Total
from federation.secure_sums import divided, expander, made_of, total_of
from federation.sum_recipes import SumRecipe
from federation.sum_states import Array
from secure_compute.entropy import Entropy
from secure_compute.primitives.agreement import KEY_SIZE, AgreementKey
from secure_compute.primitives.seed_stream import SEED_SIZE
from secure_compute.primitives.signature import SigningKey
from secure_compute.secagg import aggregator, epoch, node
from secure_compute.secagg.aggregator import Gathering
from secure_compute.secagg.ring import Integers
from secure_compute.secagg.terms import Terms

FEDERATION: Final = "simulation"
NOTHING: Final[aggregator.Requests] = ()


class Circle:
    """Parties that know one another's keys; each is an organisation of its own."""

    def __init__(self, parties: tuple[str, ...], entropy: Entropy) -> None:
        self._entropy = entropy
        self._keys = {party: SigningKey(entropy.bytes(KEY_SIZE)) for party in parties}
        secrets = {party: AgreementKey(entropy.bytes(KEY_SIZE)) for party in parties}
        roster = epoch.Roster(
            FEDERATION,
            "",
            tuple(epoch.Identity(p, p, key.verify_key) for p, key in self._keys.items()),
        )
        said = (epoch.advertise(roster, 0, party, secret) for party, secret in secrets.items())
        signed = [replace(one, signature=self._sign(one.party, one.statement())) for one in said]
        self._epoch = epoch.gather(roster, 0, signed)
        self._nodes = {p: node.join(self._epoch, p, secret) for p, secret in secrets.items()}

    def sum(
        self, recipe: SumRecipe, number: int, vectors: Mapping[str, Integers]
    ) -> tuple[Array, float]:
        """Return what round `number`, from 0, comes to, and its noise's standard deviation.

        That is the noised sum over all parties, or what is made of the sums of its groups.

        vectors: every party's clipped sum.
        """
        division = divided(self._epoch, FEDERATION, recipe, number, [*vectors])
        sums = [self._sum(recipe, number, {p: vectors[p] for p in group}) for group in division]
        total = made_of(recipe, number, sums)
        return total.values, total.noise

    def _sum(self, recipe: SumRecipe, number: int, vectors: Mapping[str, Integers]) -> Total:
        terms = Terms.of(
            self._epoch,
            session=FEDERATION,
            round=number,
            cohort=tuple(vectors),
            parameters=recipe.parameters(len(vectors)),
            dimension=recipe.dimension(number),
        )
        expand = expander(recipe, terms)
        state, requests = Gathering(terms=terms), NOTHING
        for party, vector in vectors.items():
            noised = vector + expand(self._entropy.bytes(SEED_SIZE), 0)
            self._nodes[party], message = node.submit(
                self._nodes[party], terms, noised, expand, self._entropy, self._signer(party)
            )
            state, requests = aggregator.receive(state, message)
        while requests:
            asked, requests = requests, NOTHING
            for party, request in asked:
                self._nodes[party], message = node.answer(
                    self._nodes[party], request, self._signer(party)
                )
                state, requests = aggregator.receive(state, message)
        found = aggregator.combine(state, expand)
        return total_of(recipe, terms, found)

    def _signer(self, party: str) -> node.Sign:
        return self._keys[party].sign

    def _sign(self, party: str, statement: bytes) -> bytes:
        return self._keys[party].sign(statement)
