"""Each promise of the threat model names the tests that attack it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/security/threat-model.md").read_text(encoding="utf-8")
PROMISES, ATTACKS = (
    TEXT.split("## 4. Promises")[1].split("## 5. What is not promised")[0],
    (TEXT.split("## 6. What attacks each promise")[1]),
)


def test_every_promise_has_tests_and_every_test_is_there():
    promised = re.findall(r"^(\d+)\. ", PROMISES, flags=re.MULTILINE)
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", ATTACKS, flags=re.MULTILINE)
    assert [number for number, _ in rows] == promised
    for _, named in rows:
        files = re.findall(r"`([^`]+)`", named)
        assert files
        assert [file for file in files if not (ROOT / file).is_file()] == []
