"""Where a release's files are, when a command is not told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.configuration import has_configuration, load_configuration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cli.configuration import Configuration
    from firmware_images.product import ProductSettings, ReleaseSettings
    from signing.trust_record import TrustRecord


class ReleaseDefaults:
    """What is not given on the command line, from `ampforge.toml`, read when first needed.

    Args:
        config_path: The file of `--config`, or `None` to search for one.
    """

    def __init__(self, config_path: Path | None) -> None:
        self._config_path = config_path
        self._loaded: Configuration | None = None

    def waveforms(self) -> Path:
        """The waveform source."""
        return self._resolve(lambda release: release.waveforms)

    def limits(self) -> Path:
        """The limits policy."""
        return self._resolve(lambda release: release.limits)

    def approval(self) -> Path:
        """The policy role's approval of the compiled table."""
        return self._resolve(lambda release: release.approval)

    def signed_limits(self) -> Path:
        """The policy role's signature of the limits policy."""
        return self.output_folder() / "limits.cose"

    def signed(self) -> tuple[Path, ...]:
        """Where the policy role's signatures lie; nowhere where nothing is configured."""
        return (self.approval(), self.signed_limits()) if self._has_release() else ()

    def waveform_slot(self) -> Path | None:
        """The signed waveform slot, if the product names one."""
        from firmware_images.product import ReleaseSettings

        configuration = self.configuration()
        named = configuration.section("release", ReleaseSettings).waveform_slot
        return None if named is None else configuration.resolve(named)

    def chip(self) -> str:
        """The product's chip, as esptool names it."""
        from firmware_images.product import ProductSettings

        product: ProductSettings = self.configuration().section("product", ProductSettings)
        return product.chip

    def waivers(self) -> tuple[Path, ...]:
        """The policy role's waivers; none where nothing is configured."""
        from firmware_images.product import ReleaseSettings

        if not self._has_release():
            return ()
        configuration = self.configuration()
        release = configuration.section("release", ReleaseSettings)
        return tuple(configuration.resolve(path) for path in release.waivers)

    def output_folder(self) -> Path:
        """The folder for what is built."""
        return self._resolve(lambda release: release.output)

    def hardware_class(self) -> str:
        """The boards that the product is made of."""
        from firmware_images.product import ProductSettings

        product: ProductSettings = self.configuration().section("product", ProductSettings)
        return product.hardware_class

    def find_hardware_class(self) -> str | None:
        """The same, or `None` where no product is configured."""
        configuration = self.find_configuration()
        if configuration is None or not configuration.has_section("product"):
            return None
        return self.hardware_class()

    def _has_release(self) -> bool:
        configuration = self.find_configuration()
        return configuration is not None and configuration.has_section("release")

    def _resolve(self, choose: Callable[[ReleaseSettings], str]) -> Path:
        from firmware_images.product import ReleaseSettings

        configuration = self.configuration()
        return configuration.resolve(choose(configuration.section("release", ReleaseSettings)))

    def trust_record(self) -> TrustRecord | None:
        """The product's trust record, or `None` when there is no configuration or record yet."""
        from signing.input_file import is_present
        from signing.roles_settings import SigningSettings
        from signing.trust_file import load_trust_record

        configuration = self.find_configuration()
        if configuration is None or not configuration.has_section("signing"):
            return None
        settings = configuration.section("signing", SigningSettings)
        path = configuration.resolve(settings.trust_record)
        return load_trust_record(path) if is_present(path) else None

    def find_configuration(self) -> Configuration | None:
        """The configuration, or `None` where there is none and none was named."""
        if self._config_path is None and not has_configuration():
            return None
        return self.configuration()

    def configuration(self) -> Configuration:
        """The configuration itself."""
        if self._loaded is None:
            self._loaded = load_configuration(self._config_path)
        return self._loaded
