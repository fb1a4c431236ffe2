"""The parts of detools that make a patch, loaded without the rest of it.

The package itself brings a reader of ELF files, a debugger and texts for its command line, which
take longer to load than a patch takes to make. Its parts are modules of their own, and have what
they need in them. Only this module knows where they lie (the extra `ampforge[delta]`).
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

from firmware_images.errors import DeltaError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaTools:
    """What is used of detools.

    Attributes:
        suffix_array: Sorts the suffixes of the base.
        bsdiff: Finds the differences with them; packs sizes.
        heatshrink: Packs and unpacks the instructions.
    """

    suffix_array: Any
    bsdiff: Any
    heatshrink: Any


def load_delta_tools() -> DeltaTools:
    """Load what makes patches.

    Raises:
        DeltaError: The extra is not installed.
    """
    try:
        folders = _find_folders("detools")
        return DeltaTools(
            suffix_array=_load("detools.suffix_array", folders),
            bsdiff=_load("detools.bsdiff", folders),
            heatshrink=_load(
                "detools.compression.heatshrink", [f"{folder}/compression" for folder in folders]
            ),
        )
    except ModuleNotFoundError as error:
        raise DeltaError(
            "deltas cannot be made by this installation",
            expected="the package detools",
            got=f"no module {error.name}",
            hint="install Ampforge with it: pip install 'ampforge[delta]' (needs a C compiler)",
        ) from error


def _find_folders(name: str) -> list[str]:
    package = find_spec(name)  # finds it, and runs nothing of it
    if package is None or package.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return list(package.submodule_search_locations)


def _load(name: str, folders: Sequence[str]) -> Any:
    """Return a module, from the file that an import would take, but without its packages."""
    if name in sys.modules:
        return sys.modules[name]
    spec = PathFinder.find_spec(name, folders)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
