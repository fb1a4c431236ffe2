"""The small matrices give what numpy gives, and the same last digit on every computer."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from provisioning.small_matrices import (
    apply,
    invert_root,
    multiply,
    propagate,
    pseudo_inverse,
    transpose,
)


def random_matrix(rows, columns, seed):
    source = random.Random(seed)
    return [[source.uniform(-3, 3) for _ in range(columns)] for _ in range(rows)]


@pytest.mark.parametrize("seed", range(5))
def test_they_agree_with_numpy(seed):
    tall, square = random_matrix(26, 3, seed), random_matrix(26, 26, seed + 100)
    covariance = multiply(square, transpose(square))
    root = np.linalg.cholesky(np.array(covariance))
    assert np.allclose(invert_root(covariance), np.linalg.inv(root), rtol=1e-6, atol=1e-9)
    assert np.allclose(pseudo_inverse(tall), np.linalg.pinv(np.array(tall)), rtol=1e-11)
    product = np.array(tall).T @ np.array(covariance) @ np.array(tall)
    assert np.allclose(propagate(transpose(tall), covariance), product, rtol=1e-12)
    assert np.allclose(apply(covariance, square[0]), np.array(covariance) @ square[0], rtol=1e-12)


def test_a_propagated_covariance_is_symmetric_to_the_last_digit():
    matrix = propagate(random_matrix(3, 9, 1), multiply(*[random_matrix(9, 9, 2)] * 2))
    assert matrix == transpose(matrix)


def test_dependent_columns_and_indefinite_matrices_are_refused():
    with pytest.raises(ValueError, match="independent"):
        pseudo_inverse([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    with pytest.raises(ValueError, match="positive definite"):
        invert_root([[1.0, 2.0], [2.0, 1.0]])


def test_the_last_digits_are_those_of_any_other_computer():
    """Made once on an x86-64 processor: IEEE 754 leaves no other result."""
    covariance = [[4.0, 1.1, 0.3], [1.1, 3.0, 0.7], [0.3, 0.7, 2.0]]
    found = pseudo_inverse(invert_root(covariance))
    assert [[value.hex() for value in row] for row in found] == [
        ["0x1.0000000000000p+1", "0x1.e56e91f4fe9c7p-59", "0x1.e8f64267850dap-55"],
        ["0x1.199999999999cp-1", "0x1.a474c5264effdp+0", "0x1.a8e9ea5e31c47p-54"],
        ["0x1.3333333333334p-3", "0x1.80fef860c3b5cp-2", "0x1.5ae42bf5bbf02p+0"],
    ]


def test_a_fit_takes_no_library_whose_last_digits_depend_on_the_processor():
    code = (
        "import sys, provisioning.unit_replay\n"
        "assert not {'numpy', 'scipy'} & set(sys.modules), 'numpy is imported'"
    )
    subprocess.run((sys.executable, "-c", code), check=True, timeout=60)
