"""What a release costs beside Espressif's own signing of one image.

Whole processes from the same virtual environment, output thrown away, alternating, on one image of
1.5 MiB (random bytes behind the example's code), with P-256 keys without passphrases, named as
options on both sides; `bundle build` reads the product's configuration as well.

* `bundle build --sign`, one process, and `bundle build` and `bundle sign`, two, each against one
  `espsecure sign-data`: ours compiles and judges the waveforms, and signs twice, because the
  example's releases need two keys;
* `bundle verify` against `espsecure verify-signature`: ours judges every part of the bundle;
* `bundle diff` of two such releases against a second.

    python benchmarks/release.py [--rounds N]

Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.pairing import Comparison, format_table, measure_pairs
from tests.firmware_images.grown_image import FULL_SIZE_BYTES, grow_image

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPTS = Path(sys.executable).parent
SIGN_RATIO, VERIFY_RATIO, DIFF_S = 1.5, 0.9, 1.0
KEYS = ("--key", "keys/release-1.pem", "--key", "keys/release-2.pem")
TRUST = ("--trust", "trust.cose")


class Workshop:
    """A product folder with a large application, and the other side's image and key."""

    def __init__(self, folder: Path) -> None:
        self.product = folder / "flare"
        self.image = folder / "app.bin"
        self.signed = folder / "app.signed.bin"
        self.key = folder / "espsecure.pem"
        self._folder = folder

    def prepare(self) -> None:
        """Make keys, approval and images, a signed release, and a second one to compare with."""
        self.run("ampforge", "init", str(self.product), "--test-keys")
        self.ours("policy", "approve")
        firmware = self.product / "firmware" / "images"
        for version in ("1.4.0", "1.5.0"):
            path = firmware / f"flare-{version}.bin"
            path.write_bytes(grow_image(path.read_bytes(), FULL_SIZE_BYTES))
        self.image.write_bytes((firmware / "flare-1.4.0.bin").read_bytes())
        self.run("espsecure", "generate-signing-key", "-v", "2", "-s", "ecdsa256", str(self.key))
        self.ours("bundle", "build", "--release-counter", "2", "--app", self._app("1.5.0"))
        self.ours("bundle", "sign", self._bundle("1.5.0"))
        self.release()
        self.sign_data()

    def release(self) -> None:
        """Build and sign a bundle."""
        self.ours("bundle", "build", "--replace-signed")
        self.ours("bundle", "sign", self._bundle("1.4.0"), *KEYS, *TRUST)

    def release_at_once(self) -> None:
        """Build and sign a bundle in one process."""
        self.ours("bundle", "build", "--sign", "--replace-signed", *KEYS, *TRUST)

    def verify(self) -> None:
        """Verify the bundle."""
        self.ours("bundle", "verify", self._bundle("1.4.0"), *TRUST)

    def diff(self) -> None:
        """Compare the two bundles."""
        self.ours("bundle", "diff", self._bundle("1.4.0"), self._bundle("1.5.0"))

    def sign_data(self) -> None:
        """Sign the image as Espressif's users do."""
        key, output = ("--keyfile", str(self.key)), ("--output", str(self.signed))
        self.run("espsecure", "sign-data", "--version", "2", *key, *output, str(self.image))

    def verify_signature(self) -> None:
        """Verify the signed image as Espressif's users do."""
        key = ("--keyfile", str(self.key))
        self.run("espsecure", "verify-signature", "--version", "2", *key, str(self.signed))

    def ours(self, *arguments: str) -> None:
        """Run one verb in the product folder; it must succeed."""
        self.run("ampforge", *arguments, folder=self.product)

    # An installed package has its byte code; a shell that forbids writing it would have us compile
    # every module anew in each process, and the other side, which pip installed, none.
    _environment = MappingProxyType(
        {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    )

    def run(self, script: str, *arguments: str, folder: Path | None = None) -> None:
        """Run one console script; it must succeed."""
        command = (str(SCRIPTS / script), *arguments)
        done = subprocess.run(
            command,
            cwd=folder or self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout!r}")

    def _app(self, version: str) -> str:
        return f"firmware/images/flare-{version}.bin"

    def _bundle(self, version: str) -> str:
        return f"build/flare-{version}.bundle.zip"


def measure_diff_s(workshop: Workshop, rounds: int) -> list[float]:
    """Time `bundle diff`, after one round that is thrown away."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        workshop.diff()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def compare(workshop: Workshop, rounds: int) -> Sequence[Comparison]:
    """Return the two comparisons with Espressif's tool."""
    return (
        Comparison(
            ours="`bundle build --sign`",
            theirs="`espsecure sign-data`",
            pairs=measure_pairs(workshop.release_at_once, workshop.sign_data, rounds=rounds),
            target_ratio=SIGN_RATIO,
        ),
        Comparison(
            ours="`bundle build` + `bundle sign`",
            theirs="`espsecure sign-data`",
            pairs=measure_pairs(workshop.release, workshop.sign_data, rounds=rounds),
            target_ratio=SIGN_RATIO,
        ),
        Comparison(
            ours="`bundle verify`",
            theirs="`espsecure verify-signature`",
            pairs=measure_pairs(workshop.verify, workshop.verify_signature, rounds=rounds),
            target_ratio=VERIFY_RATIO,
        ),
    )


def main() -> int:
    """Measure, print both tables, say by the exit code whether the targets are kept."""
    parser = argparse.ArgumentParser(description="Compare a release with one signed image.")
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="ampforge-release-") as folder:
        workshop = Workshop(Path(folder))
        workshop.prepare()
        comparisons = compare(workshop, rounds)
        diff_s = measure_diff_s(workshop, rounds)
    median_s = statistics.median(diff_s)
    print(format_table(comparisons))
    print(
        "\n| what | wall, median | shortest to longest | target | |\n|---|---|---|---|---|\n"
        f"| `bundle diff` | **{median_s:.2f} s** | {min(diff_s):.2f}-{max(diff_s):.2f} s "
        f"| < {DIFF_S} s | {'kept' if median_s < DIFF_S else 'MISSED'} |"
    )
    return 0 if all(row.is_kept for row in comparisons) and median_s < DIFF_S else 1


if __name__ == "__main__":
    sys.exit(main())
