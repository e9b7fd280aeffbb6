"""How second moments lie in a vector: the upper triangle of Σ x xᵀ, row by row, then Σ x y.

x is a row's features and a 1 for the bias. An entry beside the diagonal stands for two, so it is
multiplied by √2 on its way: then the vector's L2 norm is the matrix's Frobenius norm.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def triangle(wide: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the upper triangle of [wide, wide]."""
    rows, columns = np.triu_indices(wide)
    return rows, columns


def size(wide: int) -> int:
    """Return how many numbers the moments of `wide` inputs are, the bias counted among them."""
    return wide * (wide + 3) // 2


def weights(wide: int) -> Array:
    """Return what each entry of the upper triangle is multiplied by."""
    rows, columns = triangle(wide)
    return np.where(rows == columns, 1.0, np.sqrt(2.0))


def unpack(vector: Array, wide: int) -> tuple[Array, Array]:
    """Return Σ x xᵀ [wide, wide] and Σ x y [wide] of a vector of moments."""
    second, first = np.split(vector, [size(wide) - wide])
    matrix = np.zeros((wide, wide))
    matrix[triangle(wide)] = second / weights(wide)
    return matrix + np.triu(matrix, 1).T, first
