"""Every way in: each parser and loader that takes bytes or a file from outside, in one list.

Two proofs run over it: arbitrary and changed bytes raise only our errors (`test_entries`), and no
file of 16 MiB takes more than its share of memory and time (`test_hostile_files`). A new parser
belongs here; `test_entries` finds a `parse_` function that no entry reaches.
"""

from __future__ import annotations

# Importing a module adds its entries.
from tests.hostile import factory_entries, field_entries, release_entries, signing_entries
from tests.hostile.entry import ENTRIES, Entry

__all__ = [
    "ENTRIES",
    "Entry",
    "factory_entries",
    "field_entries",
    "release_entries",
    "signing_entries",
]
