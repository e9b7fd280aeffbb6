"""How much noise each layer holds, exactly: shares of σ², the noise that the sum must carry.

Each node adds a base and one layer for every dropout that is tolerated. What is surplus for the
survivors that really came is removed at unmasking (XNoise: Jiang, Wang and Chen, "Dordis: Efficient
Federated Learning with Dropout-Resilient Differential Privacy", EuroSys 2024). Noise that is closed
under addition, such as Skellam noise, keeps its shape.
"""

from collections.abc import Collection, Iterable
from fractions import Fraction

from secure_compute.errors import LocalProtocolError
from secure_compute.secagg.params import Parameters


def base_share(parameters: Parameters) -> Fraction:
    """Return what every node adds whatever happens, in units of σ²: 1/(n − c)."""
    return Fraction(1, parameters.organisations - parameters.colluding)


def layer_share(parameters: Parameters, layer: int) -> Fraction:
    """Return the variance of layer k in units of σ²: 1/(n − k − c) − 1/(n − k + 1 − c).

    Raises:
        LocalProtocolError: the layer is not one of 1 … n − t.
    """
    if not 1 <= layer <= parameters.dropouts:
        raise LocalProtocolError(f"there are layers 1 to {parameters.dropouts}, not {layer}")
    honest = parameters.organisations - parameters.colluding
    return Fraction(1, honest - layer) - Fraction(1, honest - layer + 1)


def kept_share(parameters: Parameters, dropped: int) -> Fraction:
    """Return what one survivor's noise is once the surplus is removed: 1/(n − |D| − c)."""
    layers = range(1, dropped + 1)
    return base_share(parameters) + sum(layer_share(parameters, layer) for layer in layers)


def carried(parameters: Parameters, dropped: int) -> Fraction:
    """Return what the sum carries in units of σ²: |U|/(|U| − c), for |U| = n − |D|."""
    return (parameters.organisations - dropped) * kept_share(parameters, dropped)


def remaining(parameters: Parameters, removed: Iterable[Collection[int]]) -> Fraction:
    """Return what a sum really carries, in units of σ²; more than `carried` if nodes were silent.

    removed: for each survivor, the layers of its own that were removed (`Sum.layers`).
    """
    every = range(1, parameters.dropouts + 1)
    whole = base_share(parameters) + sum(layer_share(parameters, layer) for layer in every)
    return sum(
        (whole - sum(layer_share(parameters, layer) for layer in gone) for gone in removed),
        Fraction(0),
    )
