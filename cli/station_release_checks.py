"""What `station check` says of a release, and of the plans that must fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_images.bundle import Bundle


class ReleaseChecks:
    """One release, read and verified once.

    Args:
        find_release: Finds the bundle's file.
        trust_path: The trust record.
        nvs_path: The NVS plan, if there is one.
    """

    def __init__(
        self, find_release: Callable[[], Path], trust_path: Path, nvs_path: Path | None
    ) -> None:
        self._find_release = find_release
        self._trust_path = trust_path
        self._nvs_path = nvs_path
        self._bundle: Bundle | None = None

    def check_release(self) -> str:
        """Verify the release, and look for a place in which a board may keep its key.

        Raises:
            Refusal: It is not there, does not verify, or has no such place.
        """
        from cli.station_access import read_file
        from cli.station_options import BUNDLE_MAX_BYTES
        from firmware_images.bundle import verify_bundle
        from firmware_images.key_storage import FACTORY_PARTITION, find_key_storage
        from firmware_images.nvs_plan import load_nvs_plan
        from signing.trust_file import load_trust_record

        path = self._find_release()
        content = read_file(path, max_bytes=BUNDLE_MAX_BYTES)
        self._bundle = verify_bundle(content, load_trust_record(self._trust_path), where=str(path))
        factory = FACTORY_PARTITION
        if self._nvs_path is not None:
            factory = load_nvs_plan(self._nvs_path).partition
        found = find_key_storage(
            self._bundle.partition_table, factory_partition=factory, where=str(path)
        )
        statement, names = self._bundle.statement, " or ".join(one.name for one in found)
        told = f"{statement.product} {statement.version}, signatures and content verified"
        return f"{told}, keys go into {names}"

    def check_nvs_plan(self) -> str:
        """Judge the NVS plan by the release's partition table.

        Raises:
            Refusal: It is no plan, or would fail for every unit.
        """
        from firmware_images.nvs_plan import load_nvs_plan

        assert self._nvs_path is not None, "asked only where there is a plan"
        plan = load_nvs_plan(self._nvs_path)
        if self._bundle is not None:
            plan.check(self._bundle.partition_table)
        return f"{len(plan.templates)} entries for partition {plan.partition}"

    def check_efuse_plan(self, path: Path, chip: str) -> str:
        """Judge the eFuse plan by the release's images.

        Raises:
            Refusal: It is no plan, or no board would boot after it.
        """
        from firmware_images.efuse_plan import load_efuse_plan

        plan = load_efuse_plan(path, chip=chip)
        if self._bundle is not None:
            plan.check(self._bundle)
        secure_boot = "on" if plan.enable_secure_boot else "off"
        return (
            f"{len(plan.key_digests)} key digests, Secure Boot {secure_boot}, "
            f"download mode {plan.download_mode}"
        )
