"""How publishing grows: the 1000th release against the 10th, by whole `ampforge repo publish`.

Two repositories of the example product, one with 9 releases and one with 999, are kept aside. Each
round restores both and publishes the next release to each with the command as a user types it, in
an order that flips; the ratio is the 1000th's time over the 10th's. The releases that are there are
real metadata signed by the product's keys: four targets each, as a release has; the last of them is
a real one, which the next is compared with. Inside of the
process the same is measured without the interpreter's start, as information: processor time, the
least of all rounds, because everything else on the machine only adds.

    python benchmarks/publishing.py [--rounds N]

Exit code 1 if the median ratio misses its target.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console

from benchmarks.pairing import Comparison, format_table, measure_pairs
from cli.configuration import load_configuration
from cli.demo_release import make_product
from cli.repository_files import open_publisher
from manifests.repository import NewFile, init_repository, publish_files
from manifests.tuf_metadata import SIGNING_ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.demo_release import DemoProduct
    from manifests.publishing import Publisher

TARGET_RATIO = 1.5
FEW, MANY = 9, 999
COMMAND = str(Path(sys.executable).parent / "ampforge")


def describe_releases(count: int) -> Iterator[NewFile]:
    """Yield the targets of earlier releases; their counters are spread below the next one's."""

    def digest(what: str, number: int) -> str:
        return hashlib.sha256(f"{what} {number}".encode()).hexdigest()

    for number in range(count):
        facts = {"version": f"0.1.{number}", "release_counter": 0, "hardware_class": "flare-c3"}
        manifest = {"kind": "manifest", "bundle_sha256": digest("bundle", number)}
        for path, custom in (
            (f"artifacts/{digest('app', number)}", {"kind": "application"}),
            (f"artifacts/{digest('slot', number)}", {"kind": "waveform slot image"}),
            (f"manifests/{digest('manifest', number)}.cose", manifest),
            (f"bundles/flare-0.1.{number}.bundle.zip", {"kind": "bundle"}),
        ):
            yield NewFile(path=path, content=path.encode(), custom=custom | facts)


def fill(publisher: Publisher, count: int, *, last: bytes) -> None:
    """Make a repository with so many releases and the bundle of the last one."""
    now = datetime.now(UTC).replace(microsecond=0)
    init_repository(
        publisher.store,
        publisher.trust,
        publisher.signers,
        publisher.settings,
        now=now,
        allows_test_keys=True,
    )
    publisher.publish_bundle(last, None, now=now)
    publish_files(
        publisher.store,
        publisher.signers,
        publisher.settings,
        releases=tuple(describe_releases(count)),
        now=now,
    )


def prepare(product: DemoProduct, count: int) -> tuple[Path, Path]:
    """Return a configuration with a repository of so many releases, and a copy to restore."""
    folder = product.root / f"repository-{count}"
    text = product.configuration.path.read_text(encoding="utf-8")
    path = product.root / f"ampforge-{count}.toml"
    path.write_text(text.replace('folder = "repository"', f'folder = "{folder.name}"'), "utf-8")
    publisher = open_publisher(load_configuration(path), SIGNING_ROLES.values(), passphrase=bytes)
    fill(publisher, count - 1, last=product.bundle_path("1.4.0").read_bytes())
    kept = folder.with_suffix(".kept")
    shutil.copytree(folder, kept)
    return path, kept


def main() -> int:
    """Measure, print the table, say by the exit code whether the target is kept."""
    parser = argparse.ArgumentParser(description="Compare the 1000th publication with the 10th.")
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="ampforge-publishing-") as name:
        product = make_product(Path(name), Console(quiet=True))
        prepared = {count: prepare(product, count) for count in (FEW, MANY)}
        bundle = product.bundle_path("1.5.0")
        inside: dict[int, list[float]] = {FEW: [], MANY: []}

        def restore(count: int) -> Path:
            path, kept = prepared[count]
            folder = kept.with_suffix("")
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            return path

        for count in (FEW, MANY) * rounds:
            publisher = open_publisher(
                load_configuration(restore(count)), SIGNING_ROLES.values(), passphrase=bytes
            )
            content = bundle.read_bytes()
            start_s = time.process_time()
            publisher.publish_bundle(content, None, now=datetime.now(UTC).replace(microsecond=0))
            inside[count].append(time.process_time() - start_s)

        def run(count: int) -> None:
            arguments = ("repo", "publish", str(bundle), "--config", str(prepared[count][0]))
            done = subprocess.run(
                (COMMAND, *arguments, "--json"), check=True, capture_output=True, timeout=60
            )
            if not json.loads(done.stdout)["is_new_release"]:
                raise SystemExit("nothing was published: the times say nothing")

        pairs = measure_pairs(
            lambda: run(MANY),
            lambda: run(FEW),
            rounds=rounds,
            prepare=lambda: [restore(count) for count in prepared],
        )
        targets = max(
            (product.root / f"repository-{MANY}" / "metadata").glob("*.targets.json"),
            key=lambda path: path.stat().st_size,
        )
        size_bytes = targets.stat().st_size
    comparison = Comparison(
        ours=f"`ampforge repo publish`, release {MANY + 1}",
        theirs=f"release {FEW + 1}",
        pairs=pairs,
        target_ratio=TARGET_RATIO,
    )
    print(format_table((comparison,)))
    few_ms, many_ms = (min(inside[count]) * 1000 for count in (FEW, MANY))
    print(
        f"\nprocessor time inside of the process, at best: {few_ms:.0f} ms for the {FEW + 1}th, "
        f"{many_ms:.0f} ms for the {MANY + 1}th; the list of releases is then {size_bytes:,} bytes"
    )
    return 0 if comparison.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
