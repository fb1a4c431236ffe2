"""Linear algebra for a few dozen readings that gives the same last digit on every computer.

A library's products and decompositions choose their order of summation by the processor, so the
last digits of a fit would differ from one computer to the next, and a replay would blame the
record. Here every sum is `math.fsum`, which is exact before its one rounding; all else is IEEE 754
arithmetic and `math.sqrt`, both correctly rounded everywhere. A matrix is a list of rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Vector = list[float]
Matrix = list[Vector]


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the scalar product."""
    return math.fsum([a * b for a, b in zip(left, right, strict=True)])


def transpose(matrix: Sequence[Sequence[float]]) -> Matrix:
    """Return the transposed matrix."""
    return [list(column) for column in zip(*matrix, strict=True)]


def apply(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> Vector:
    """Return matrix times vector."""
    return [dot(row, vector) for row in matrix]


def multiply(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> Matrix:
    """Return the product of two matrices."""
    columns = transpose(right)
    return [apply(columns, row) for row in left]


def propagate(jacobian: Sequence[Sequence[float]], covariance: Sequence[Sequence[float]]) -> Matrix:
    """Return J·C·Jᵀ, made symmetric: products round, a covariance does not."""
    product = multiply(multiply(jacobian, covariance), transpose(jacobian))
    mirrored = transpose(product)
    return [
        [a / 2 + b / 2 for a, b in zip(row, other, strict=True)]
        for row, other in zip(product, mirrored, strict=True)
    ]


def invert_root(covariance: Sequence[Sequence[float]]) -> Matrix:
    """Return L⁻¹ for a positive definite matrix L·Lᵀ: what whitens values of that covariance.

    Raises:
        ValueError: The matrix is not positive definite.
    """
    size = len(covariance)
    root: Matrix = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            left = covariance[i][j] - dot(root[i][:j], root[j][:j])
            if i != j:
                root[i][j] = left / root[j][j]
            elif left > 0:
                root[i][i] = math.sqrt(left)
            else:
                raise ValueError("the matrix is not positive definite")
    inverse: Matrix = [[0.0] * size for _ in range(size)]
    for j in range(size):
        inverse[j][j] = 1 / root[j][j]
        for i in range(j + 1, size):
            known = dot(root[i][j:i], [inverse[k][j] for k in range(j, i)])
            inverse[i][j] = -known / root[i][i]
    return inverse


def pseudo_inverse(matrix: Sequence[Sequence[float]]) -> Matrix:
    """Return (AᵀA)⁻¹Aᵀ of a matrix of full column rank, by Gram-Schmidt done twice.

    Raises:
        ValueError: The columns are not independent.
    """
    basis: list[Vector] = []
    triangle: Matrix = []
    for column in transpose(matrix):
        rest = list(column)
        shares = [0.0] * len(basis)
        for _ in range(2):  # once leaves what rounding mixed in; twice is enough
            for index, unit in enumerate(basis):
                share = dot(unit, rest)
                shares[index] += share
                rest = [a - share * b for a, b in zip(rest, unit, strict=True)]
        length = math.sqrt(dot(rest, rest))
        if not length > 1e-12 * math.sqrt(dot(column, column)):
            raise ValueError("the columns are not independent")
        basis.append([a / length for a in rest])
        triangle.append([*shares, length])  # column of the triangular factor
    inverse: Matrix = [[] for _ in basis]
    for i in reversed(range(len(basis))):
        rows = [(triangle[j][i], inverse[j]) for j in range(i + 1, len(basis))]
        inverse[i] = [
            math.fsum([basis[i][k], *(-factor * row[k] for factor, row in rows)]) / triangle[i][i]
            for k in range(len(basis[i]))
        ]
    return inverse
