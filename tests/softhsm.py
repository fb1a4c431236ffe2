"""Real PKCS#11 tokens for tests: SoftHSM, filled by its own `softhsm2-util`.

SoftHSM reads its configuration once for each process, so there is one folder of tokens for each
test process, and each test makes tokens of its own in it. Without SoftHSM the tests skip; where
`AMPFORGE_REQUIRE_SYSTEM_TOOLS=1` they fail instead (Debian: `apt-get install softhsm2`).
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import tempfile
from functools import cache
from itertools import count
from pathlib import Path

from tests.system_tools import give_up

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
PIN = "271828"
_numbers = count(1)


class Token:
    """One token of this process's SoftHSM.

    Attributes:
        label: Its label, distinct in this process.
        module: The PKCS#11 module's file.
        environment: What a command needs to reach it, with the PIN.
    """

    def __init__(self, module: Path, folder: Path, label: str | None = None) -> None:
        self.label = label or f"test-{next(_numbers)}"
        self.module = module
        self.folder = folder
        before = set(folder.glob("tokens/*"))
        self._util("--init-token", "--free", "--pin", PIN, "--so-pin", "31415926")
        (self.storage,) = set(folder.glob("tokens/*")) - before

    @property
    def environment(self) -> dict[str, str]:
        return {"AMPFORGE_PKCS11_MODULE": str(self.module), "AMPFORGE_PKCS11_PIN": PIN}

    def uri(self, label: str) -> str:
        return f"pkcs11:token={self.label};object={label}"

    def import_key(self, path: Path, label: str, identifier: str = "01") -> str:
        """Import a private key file by SoftHSM's own tool, and return the key's URI."""
        self._util(
            *("--import", path, "--token", self.label, "--label", label),
            *("--id", identifier, "--pin", PIN),
        )
        return self.uri(label)

    def remove(self) -> None:
        """Take the token away, as if it were pulled out."""
        shutil.rmtree(self.storage)

    def _util(self, *arguments: str | Path) -> None:
        subject = () if "--token" in arguments else ("--label", self.label)
        subprocess.run(
            ["softhsm2-util", *arguments, *subject],  # noqa: S607 - the system's SoftHSM
            check=True,
            capture_output=True,
        )
        _forget_tokens(self.module)


def make_token(label: str | None = None) -> Token:
    """Return a new, empty token; skip or fail the test where there is no SoftHSM."""
    return Token(*_prepare(), label)


@cache
def _find_module() -> tuple[Path | None, str]:
    module = next((Path(path) for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        return None, "SoftHSM is not installed (Debian: softhsm2)"
    if importlib.util.find_spec("pkcs11") is None:
        return None, "python-pkcs11 is not installed (ampforge[hsm])"
    return module, ""


def _prepare() -> tuple[Path, Path]:
    module, reason = _find_module()
    if module is None:
        give_up(reason)
    return module, _make_folder()


@cache
def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    # For this process and those that it starts; nothing else reads the variable.
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    return folder


def _forget_tokens(module: Path) -> None:
    # A module lists the tokens that it found when it was initialized; it is when used again.
    import pkcs11

    loaded = pkcs11._loaded.get(str(module))
    if loaded is not None and loaded.initialized:
        loaded.finalize()
