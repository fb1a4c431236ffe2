"""The C verifier for every test: built once for all test processes, started once for each."""

from __future__ import annotations

import os

import pytest

from tests.c_verifier.verifier import CVerifier, build, missing
from tests.system_tools import are_required


@pytest.fixture(scope="session")
def c_verifier_folder(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def c_verifier(c_verifier_folder):
    verifier = CVerifier(build(c_verifier_folder, "verifier-cli"))
    yield verifier
    verifier.close()


@pytest.fixture
def c_verifier_if_any(request):
    """The C verifier, or `None` where it cannot be built and need not be."""
    if missing() and not are_required():
        return None
    return request.getfixturevalue("c_verifier")
