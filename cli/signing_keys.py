"""Opens the private keys that commands sign with; each signature goes to the sign log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cli.clock import utc_now
from cli.params import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cli.configuration import Configuration
    from signing.logged_signer import SignLog
    from signing.roles import Role
    from signing.signers import Signer


def open_signers(
    role: Role,
    *,
    configuration: Configuration | None,
    keys: Sequence[str] = (),
    log_beside: Path | None = None,
    passphrase: Callable[[str], bytes] | None,
) -> tuple[Signer, ...]:
    """Open the keys that sign for a role; what they sign is written to the sign log.

    Args:
        role: The role.
        configuration: The loaded `ampforge.toml`; needed where no `keys` are given.
        keys: Paths or URIs of `--key`; none means those of `[signing.roles.ROLE] signer`.
        log_beside: What the log lies beside where no trust record is configured.
        passphrase: Asked for each key that needs one, by the key's path or URI.

    Raises:
        KeyFileError: A key cannot be opened.
        UsageRefusal: A setting that is needed is missing.
    """
    if keys:
        from signing.roles_settings import load_named_signers

        signers = load_named_signers(keys, passphrase=passphrase)
    else:
        from signing.roles_settings import SigningSettings

        assert configuration is not None
        settings = configuration.section("signing", SigningSettings)
        signers = settings.load_signers(role, configuration.root, passphrase=passphrase)
    return log_signers(signers, role, configuration=configuration, log_beside=log_beside)


def log_signers(
    signers: Sequence[Signer],
    role: Role,
    *,
    configuration: Configuration | None,
    log_beside: Path | None = None,
) -> tuple[Signer, ...]:
    """Return signers that do the same and write it to the sign log.

    Args:
        signers: The opened keys.
        role: What they sign for.
        configuration: The loaded `ampforge.toml`, if there is one.
        log_beside: What the log lies beside where no trust record is configured.
    """
    from signing.logged_signer import SIGN_LOG_NAME

    if configuration is not None and configuration.has_section("signing"):
        path = sign_log_path(configuration)
    else:
        assert log_beside is not None
        path = log_beside.with_name(SIGN_LOG_NAME)
    make_folder(path.parent)
    log = open_sign_log(path)
    return tuple(log.wrap(signer, role) for signer in signers)


def sign_log_path(configuration: Configuration) -> Path:
    """Return the sign log's file, beside the configured trust record."""
    from signing.logged_signer import SIGN_LOG_NAME
    from signing.roles_settings import SigningSettings

    settings = configuration.section("signing", SigningSettings)
    return configuration.resolve(settings.trust_record).with_name(SIGN_LOG_NAME)


def open_sign_log(path: Path) -> SignLog:
    """Return a sign log that is written to in this account's name."""
    from signing.logged_signer import SignLog

    return SignLog(path=path, who=describe_account(), tool=describe_tool(), clock=utc_now)


def describe_account() -> str:
    """Return account and machine, for what is written down about a signature."""
    return f"{_account()}@{os.uname().nodename}"


def describe_tool() -> str:
    """Return the name and version of this program."""
    from signing.installed_version import find_version

    return f"ampforge {find_version('ampforge')}"


def _account() -> str:
    import pwd

    # The account that the system knows, not the one that LOGNAME or USER claims.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
