"""Signs a bundle with the release role's keys, for `bundle sign` and `bundle build --sign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.bundle_output import format_waiver_lines
from cli.failures import UsageRefusal
from cli.params import passphrase_file_option, passphrase_source
from cli.secure_version_ledgers import SPEND_OPTION, ReleaseRecorder, spend_option
from cli.signing_keys import open_signers
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from cli.configuration import Configuration
    from signing.trust import TrustRecord


def signing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say with which keys, and at which cost."""
    key_option = click.option(
        "--key",
        "keys",
        multiple=True,
        help="Private key file or URI; repeatable (default: [signing.roles.release] signer).",
    )
    return key_option(spend_option(passphrase_file_option(function)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRequest:
    """What was asked for on the command line.

    Args:
        keys: Names of `--key`; none means those of the configuration.
        spend_reason: Why an eFuse bit may be spent, or `None`.
        passphrase_file: The file of `--passphrase-file`, or `None` to ask.
    """

    keys: tuple[str, ...]
    spend_reason: str | None
    passphrase_file: Path | None

    def refuse_without(self, *, is_signing: bool) -> None:
        """Refuse options of signing where nothing is to be signed.

        Raises:
            UsageRefusal: There are some. A passphrase file may stand in the environment for all.
        """
        if not is_signing and (self.keys or self.spend_reason is not None):
            raise UsageRefusal(
                "these options are for signing, and nothing is to be signed",
                expected="--sign with them",
                got="--key" if self.keys else SPEND_OPTION,
                hint="add --sign, or leave them to `ampforge bundle sign`",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedContent:
    """A signed bundle, not yet written.

    Attributes:
        content: Its bytes.
        document: What it says, for scripts.
        lines: The same for people, after where it was written.
    """

    content: bytes
    document: dict[str, object]
    lines: tuple[str, ...]


def sign_content(
    content: bytes,
    request: SigningRequest,
    *,
    configuration: Configuration | None,
    trust: TrustRecord | None,
    beside: Path,
    where: Path,
    now: datetime,
) -> SignedContent:
    """Judge a bundle, record what it costs the boards, and add release signatures.

    Args:
        content: The bundle.
        request: Which keys, and at which cost.
        configuration: The loaded `ampforge.toml`, if there is one.
        trust: Whom the boards trust, if that is known.
        beside: What sign log and ledger lie beside where no trust record is configured.
        where: The bundle's file, for messages.
        now: The present, UTC.

    Raises:
        FirmwareImageError, SigningError: It may not be signed.
    """
    from firmware_images.bundle_building import sign_bundle
    from firmware_images.bundle_inspection import inspect_bundle
    from firmware_images.bundle_statement import count_signatures
    from signing.roles import Role

    signers = open_signers(
        Role.RELEASE,
        configuration=configuration,
        keys=request.keys,
        log_beside=beside,
        passphrase=passphrase_source(
            request.passphrase_file, prompt="Passphrase or PIN of the release key"
        ),
    )
    recorder = ReleaseRecorder(
        configuration, beside=beside, reason=request.spend_reason, where=str(where)
    )
    signed = sign_bundle(
        content, signers, trust=trust, now=now, where=str(where), before_signing=recorder.admit
    )
    document: dict[str, object] = {
        **inspect_bundle(signed, is_judged=True),
        "secure_version_budget": recorder.describe(),
    }
    lines = [
        f"with {len(signers)} key{'s' if len(signers) > 1 else ''}",
        str(recorder),
        *format_waiver_lines(document, now=now),
    ]
    if trust is None:
        lines.append("no trust record was given, so nobody knows yet whether that is enough")
    else:
        count = count_signatures(signed, trust)
        document["release_signatures"] = len(count.signed_by)
        document["release_threshold"] = count.threshold
        more = (
            "" if count.is_enough else "; have another release engineer run `ampforge bundle sign`"
        )
        lines.append(f"{count}{more}")
    return SignedContent(content=signed, document=document, lines=tuple(lines))
