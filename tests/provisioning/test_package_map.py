"""The package's map names modules and first words that are there."""

from __future__ import annotations

import re
from pathlib import Path

import provisioning

FOLDER = Path(provisioning.__file__).parent


def test_what_the_map_names_is_there():
    assert provisioning.__doc__ is not None
    named = set(re.findall(r"`([a-z0-9_./]+)`", provisioning.__doc__))
    missing = {
        name
        for name in named
        if not any(FOLDER.glob(f"{name}*.py" if name.endswith("_") else _path(name)))
    }
    assert len(named) > 1
    assert missing == set()


def _path(name: str) -> str:
    return name.rstrip("/") if name.endswith("/") else f"{name.replace('.', '/')}.py"
