"""How thoroughly the suite looks: a seeded sample by default, everything in soak.

* default: hypothesis draws the same examples each time, so that a red run is red again;
* `AMPFORGE_SOAK=1` (`make soak`): fresh examples, and tests that sample an exhaustive proof do all
  of it;
* `AMPFORGE_EXAMPLES_FACTOR=N` (`make fuzz`): N times as many examples for each property.

Under coverage everything takes nearly twice as long. A test that goes through the same code again
and again, with other inputs or other deaths, is marked `no_cover`: it runs as ever, uncounted.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import settings

from tests.c_verifier.fixtures import (  # noqa: F401 - fixtures
    c_verifier,
    c_verifier_folder,
    c_verifier_if_any,
)
from tests.postgres_server import PostgresServer
from tests.untraced import untraced_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

IS_SOAK = os.environ.get("AMPFORGE_SOAK") == "1"
EXAMPLES_FACTOR = int(os.environ.get("AMPFORGE_EXAMPLES_FACTOR", "1"))

settings.register_profile("sample", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None)
settings.load_profile("soak" if IS_SOAK else "sample")

# espefuse parses its table of a chip's eFuses for each board anew: by libyaml, a tenth of the time.
yaml.safe_load = functools.partial(yaml.load, Loader=yaml.CSafeLoader)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the pages, and ask each property for as many examples as the run is to have.

    A page is one test of up to half a minute: run last, it keeps one worker while others are idle.
    """
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)  # stable
    ask_for_more_examples(items)


def ask_for_more_examples(items: list[pytest.Item]) -> None:
    """Ask each property for more examples, whatever number its own decorator names."""
    if EXAMPLES_FACTOR == 1:
        return
    tests = {item.obj for item in items if hasattr(item, "obj")}
    # A method keeps its settings in its function; and several items share the function of one test.
    for test in {getattr(test, "__func__", test) for test in tests}:
        current = getattr(test, "_hypothesis_internal_use_settings", None)
        if current is not None:
            more = settings(current, max_examples=current.max_examples * EXAMPLES_FACTOR)
            test._hypothesis_internal_use_settings = more


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Let the children of a test that is not counted run uncounted too."""
    is_counted = item.get_closest_marker("no_cover") is None
    starts_coverage = () if is_counted else os.environ.keys() - untraced_environment().keys()
    taken = {name: os.environ.pop(name) for name in starts_coverage}
    try:
        return (yield)
    finally:
        os.environ.update(taken)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server for each test process, in memory where there is such a file system."""
    memory = Path("/dev/shm")  # noqa: S108 - a file system, not a file
    server = PostgresServer(parent=memory if memory.is_dir() else None)
    yield server
    server.close()
