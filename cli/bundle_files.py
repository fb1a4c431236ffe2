"""Where a bundle and the trust record that it is verified with come from."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from cli.configuration import current_folder, find_configuration_file, load_configuration
from cli.failures import UsageRefusal
from cli.params import EXISTING_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from cli.configuration import Configuration
    from signing.trust import TrustRecord

_BUNDLE_PATTERN = "*.bundle.zip"
REPLACE_SIGNED_OPTION = "--replace-signed"

BUNDLE_ARGUMENT = click.argument("bundle_path", metavar="BUNDLE", type=EXISTING_FILE)
OPTIONAL_BUNDLE_ARGUMENT = click.argument(
    "bundle_path", metavar="[BUNDLE]", type=EXISTING_FILE, required=False
)
trust_option = click.option(
    "--trust",
    "trust_path",
    type=EXISTING_FILE,
    help="Trust record (default: [signing] trust_record).",
)


def find_bundle(configuration: Configuration) -> Path:
    """Return the only bundle in the folder that `bundle build` writes to."""
    from firmware_images.product import ReleaseSettings

    folder = configuration.resolve(configuration.section("release", ReleaseSettings).output)
    found = sorted(folder.glob(_BUNDLE_PATTERN))
    if not found:
        raise UsageRefusal(
            "there is no bundle here",
            expected=f"one {_BUNDLE_PATTERN}",
            got="none",
            where=folder,
            hint="make one with `ampforge bundle build`, or name a bundle on the command line",
        )
    if len(found) > 1:
        raise UsageRefusal(
            "it is not clear which bundle is meant",
            expected=f"one {_BUNDLE_PATTERN}",
            got=", ".join(path.name for path in found),
            where=folder,
            hint="name the bundle on the command line",
        )
    return found[0]


def choose_bundle(bundle_path: Path | None, config_path: Path | None) -> Path:
    """Return the bundle that was named, else the only one that `bundle build` wrote.

    Raises:
        UsageRefusal: None was named, and there is none or more than one.
    """
    return bundle_path or find_bundle(load_configuration(config_path))


def read_bundle(path: Path) -> bytes:
    """Return the bytes of a bundle, nothing judged but their number.

    Raises:
        BundleError: The file cannot be read, or is larger than any bundle.
    """
    from firmware_images.bounded_file import read_bounded
    from firmware_images.bundle_archive import ARCHIVE_MAX_BYTES
    from firmware_images.errors import BundleError

    return read_bounded(path, ARCHIVE_MAX_BYTES, BundleError)


def refuse_signed_output(output: Path, digest: object) -> None:
    """Refuse to write a bundle where a signed one lies: its signatures would be lost.

    Args:
        output: Where the bundle is to go.
        digest: That of the statement which is about to be written there, hexadecimal.

    Raises:
        UsageRefusal: There is a signed bundle.
        BundleError: What is there cannot be read.
    """
    from firmware_images.bundle_archive import parse_archive
    from firmware_images.bundle_contents import SIGNED_STATEMENT
    from firmware_images.bundle_inspection import inspect_bundle
    from firmware_images.errors import BundleError
    from signing.refusal import Refusal

    try:
        if not output.is_file():  # a pipe or a device is not opened
            return
    except OSError:
        return  # who writes the file says what is wrong
    content = read_bundle(output)
    try:
        is_signed = SIGNED_STATEMENT in parse_archive(content)
    except BundleError:
        is_signed = False  # no bundle, so nobody signed it
    if not is_signed:
        return
    got = "a bundle that is signed"
    hint = f"give another --output, or {REPLACE_SIGNED_OPTION} if that file is not needed any more"
    with suppress(Refusal):  # a statement that we cannot read is no less signed
        there = inspect_bundle(content)
        got = f"{there['version']}, release counter {there['release_counter']}, signed"
        if there["digest"] == digest:
            got = "this very release, signed"
            hint = "nothing needs to be built; add a signature to it with `ampforge bundle sign`"
    raise UsageRefusal(
        "the output would take the place of a signed bundle",
        expected="a new file, or an unsigned bundle",
        got=got,
        where=output,
        hint=hint,
    )


def find_trust(configuration: Configuration | None, trust_path: Path | None) -> TrustRecord | None:
    """Return the named trust record, else the configuration's if its file is there."""
    from signing.trust_file import load_trust_record

    if trust_path is not None:
        return load_trust_record(trust_path)
    if configuration is None or not configuration.has_section("signing"):
        return None
    from signing.input_file import is_present
    from signing.roles_settings import SigningSettings

    settings = configuration.section("signing", SigningSettings)
    path = configuration.resolve(settings.trust_record)
    return load_trust_record(path) if is_present(path) else None


def find_configuration_anywhere(config_path: Path | None) -> Configuration | None:
    """Return the configuration, for a command that works without one, too."""
    is_named = config_path is not None or os.environ.get("AMPFORGE_CONFIG")
    if not is_named and find_configuration_file(current_folder()) is None:
        return None
    return load_configuration(config_path)


def find_trust_anywhere(config_path: Path | None, trust_path: Path | None) -> TrustRecord | None:
    """As `find_trust`, for a command that works without a configuration, too."""
    if trust_path is not None:
        return find_trust(None, trust_path)
    return find_trust(find_configuration_anywhere(config_path), None)


def require_trust(config_path: Path | None, trust_path: Path | None) -> TrustRecord:
    """As `find_trust`, for a command that verifies.

    Raises:
        UsageRefusal: There is no trust record.
    """
    configuration = None if trust_path is not None else load_configuration(config_path)
    trust = find_trust(configuration, trust_path)
    if trust is None:
        raise UsageRefusal(
            "there is no trust record to verify the bundle with",
            expected="the file that [signing] trust_record names, or --trust FILE",
            where=None if configuration is None else configuration.path,
            hint="make one with `ampforge trust sign`, or get it from the product's owner",
        )
    return trust
