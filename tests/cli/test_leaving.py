"""The program ends at once, but never with less done than Python would have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BEGINNING = """
import atexit, sys, threading
from cli.leaving import leave
class Last:
    def __del__(self):
        print("taken apart")
last = Last()
atexit.register(print, "registered")
print("printed", end=" ")
"""


def ended(script: str, *, stdout: int = subprocess.PIPE) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + script],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        # Coverage's own database would be open in it, which Python has to close.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("code", [0, 5])
def test_what_was_printed_and_registered_is_done_and_the_code_is_given(code):
    assert ended(f"leave({code})") == (code, "printed registered\n", "")


@pytest.mark.parametrize("module", ["sqlalchemy", "manifests.fleet", "multiprocessing"])
def test_where_a_database_may_be_open_python_closes_it(module):
    code, out, _ = ended(f"import {module}\nleave(4)")
    assert (code, out) == (4, "printed registered\ntaken apart\n")


def test_a_thread_that_still_works_is_waited_for():
    script = """
begun = threading.Event()
def work():
    begun.wait()
    print("worked")
threading.Thread(target=work).start()
threading.Timer(0, begun.set).start()
leave(0)
"""
    code, out, _ = ended(script)
    assert code == 0
    assert "worked" in out


def test_a_full_disk_is_still_told():
    with Path("/dev/full").open("w") as full:
        code, _, errors = ended("leave(0)", stdout=full.fileno())
    assert code != 0
    assert "No space left" in errors
