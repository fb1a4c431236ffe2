"""Options that several commands share, turned from text into domain values once."""

from __future__ import annotations

import math
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from cli.failures import UsageRefusal
from signing.input_file import read_input_and_mode

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., Any]")
PASSPHRASE_FILE_MAX_BYTES = 4096
PASSPHRASE_LEAST_CHARACTERS = 8
_KEY_HEAD_BYTES = 4096
"""How far a private key is looked for: OpenSSL writes parameters or attributes before it."""


class _File(click.Path):
    """A file, perhaps to be written; what `--output` names is no private key."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, unless somebody's key would be lost by writing there.

        Raises:
            UsageRefusal: `--output` names a private key.
        """
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if param is not None and "--output" in param.opts and _is_private_key(path):
            raise UsageRefusal(
                "the output would take the place of a private key",
                expected="a new file, or one that may be lost",
                got="a private key",
                where=path,
                hint="give another --output",
            )
        return path


def _is_private_key(path: Path) -> bool:
    try:
        # A pipe or a device is not opened: that would wait, or take something from it.
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return b"PRIVATE KEY-----" in file.read(_KEY_HEAD_BYTES)
    except OSError:
        return False  # who writes the file says what is wrong


_SHARE = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,4})?", re.ASCII)


class _Share(click.ParamType[int]):
    """A share of the devices: percent as typed, parts per million as a device counts them."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the parts per million; what they cannot say is refused, not rounded to nobody."""
        from manifests.assignment import ALL_DEVICES_PPM

        text = str(value)
        whole, _, fraction = text.partition(".")
        share_ppm = -1
        if _SHARE.fullmatch(text):
            share_ppm = int(whole) * 10_000 + int(fraction.ljust(4, "0"))
        if not 0 <= share_ppm <= ALL_DEVICES_PPM:
            self.fail(f"{text!r} is not 0 to 100 with at most four decimals.", param, ctx)
        return share_ppm


def share_option(*, text: str, default: str | None = "100") -> Callable[[Function], Function]:
    """`--percent` of the devices, as `drawn_ppm`.

    Args:
        text: What it is for.
        default: Percent; `None` leaves it to the command.
    """
    return click.option(
        "--percent",
        "drawn_ppm",
        type=_Share(),
        default=default,
        show_default=default is not None,
        help=text,
    )


def _parse_server_url(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> str | None:
    del context, parameter
    if text is None:
        return None
    from manifests.errors import TransportError
    from manifests.http_transport import parse_base_url

    try:
        return parse_base_url(text)
    except TransportError as error:
        raise UsageRefusal(
            error.what,
            expected=error.expected,
            got=error.got,
            where="--url",
            hint=error.hint or "give the address that `ampforge serve` printed",
        ) from error


def server_url_option(*, text: str, required: bool = False) -> Callable[[Function], Function]:
    """`--url` of a server with the published repository.

    Args:
        text: What it is for.
        required: Whether it must be given.
    """
    return click.option("--url", callback=_parse_server_url, required=required, help=text)


class _Day(click.DateTime):
    """A day; Click's own would show the format of `strptime`."""

    def __init__(self) -> None:
        super().__init__(formats=["%Y-%m-%d"])

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what stands for it in the help."""
        del param, ctx
        return "YYYY-MM-DD"


DAY = _Day()
FILE = _File(path_type=Path, dir_okay=False)
EXISTING_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
EXISTING_PATH = click.Path(path_type=Path, exists=True)
FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
config_option = click.option(
    "--config",
    "config_path",
    type=FILE,
    help="ampforge.toml to use (default: this folder and upward, or AMPFORGE_CONFIG).",
)
hardware_class_option = click.option(
    "--hardware-class", help="Which boards, where the version is published for several."
)
passphrase_file_option = click.option(
    "--passphrase-file",
    type=EXISTING_FILE,
    envvar="AMPFORGE_PASSPHRASE_FILE",
    help="File with the key's passphrase, for unattended use (default: ask).",
)


class FiniteFloat(click.FloatRange):
    """A decimal number in a range; Click's own takes nan, which is in every range."""

    def _describe_range(self) -> str:
        # Click says "x<=None" where there is no range.
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number.

        Raises:
            click.BadParameter: It is none, is not finite, or is out of range.
        """
        try:
            float(value)
        except ValueError:
            # Click says "not a valid float range", also to who wrote a decimal comma.
            self.fail(f"{value!r} is not a number such as 98.5.", param, ctx)
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def make_folder(folder: Path) -> None:
    """Make the folder that a file goes to, with those above it.

    Raises:
        UsageRefusal: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageRefusal(
            "the output folder cannot be made",
            got=error.strerror,
            where=folder,
            hint="give another place, or check the permissions of the folder above",
        ) from error


def read_passphrase_file(path: Path) -> bytes:
    """Return the passphrase in a file, without its line end.

    Raises:
        UsageRefusal: The file cannot be read, is readable by others, is empty or too long.
    """
    try:
        content, mode = read_input_and_mode(path, PASSPHRASE_FILE_MAX_BYTES)
    except OSError as error:
        raise UsageRefusal(
            "the passphrase file cannot be read",
            got=error.strerror,
            where=path,
            hint="check the path and its permissions",
        ) from error
    if mode & 0o077:
        raise UsageRefusal(
            "the passphrase file can be read by others",
            expected="mode 0600",
            got=f"mode {mode & 0o777:04o}",
            where=path,
            hint=f"run `chmod 600 {path}`, and change the passphrase if others may have seen it",
        )
    passphrase = content.rstrip(b"\r\n")
    line_count = len(passphrase.split(b"\n"))
    if not passphrase or len(content) > PASSPHRASE_FILE_MAX_BYTES or line_count > 1:
        raise UsageRefusal(
            "the passphrase file does not hold a passphrase",
            expected=f"one line of 1 to {PASSPHRASE_FILE_MAX_BYTES} bytes",
            got=f"{len(content)} bytes" if line_count == 1 else f"{line_count} lines",
            where=path,
            hint="put the passphrase alone into the file",
        )
    return passphrase


def ask_passphrase(prompt: str, *, is_new: bool = False) -> bytes:
    """Ask for a passphrase on the terminal; return the very bytes that were typed, UTF-8 or not.

    Args:
        prompt: What to ask.
        is_new: Ask twice: a slip would lock the key for ever.

    Raises:
        UsageRefusal: There is no terminal, and no answer comes from where input does.
    """
    has_terminal = sys.stdin.isatty()
    if is_new:
        prompt = f"{prompt} (at least {PASSPHRASE_LEAST_CHARACTERS} characters)"
    try:
        with warnings.catch_warnings():
            if not has_terminal:  # getpass warns three lines long that it cannot hide what comes
                warnings.filterwarnings("ignore", "Can not control echo")
            answer: str = click.prompt(
                prompt, hide_input=True, confirmation_prompt=is_new, err=True
            )
    except click.Abort as error:
        if has_terminal:  # Ctrl-C
            raise
        click.echo(err=True)
        raise UsageRefusal(
            "there is no terminal to ask for a passphrase",
            expected="a terminal, or a file of mode 0600 with the passphrase",
            got="the end of the input",
            hint="give the file with --passphrase-file; `ampforge COMMAND --help` shows more",
        ) from error
    passphrase = answer.encode("utf-8", "surrogateescape")
    if is_new:
        refuse_short(passphrase)
    return passphrase


def refuse_short(passphrase: bytes, *, where: Path | None = None) -> None:
    """Refuse a new key's passphrase that is guessed within seconds, whatever the work factor.

    Implements docs/decisions/0117-eight-characters-for-a-new-key.md.

    Raises:
        UsageRefusal: It has fewer than `PASSPHRASE_LEAST_CHARACTERS` characters.
    """
    count = len(passphrase.decode("utf-8", "surrogateescape"))
    if count < PASSPHRASE_LEAST_CHARACTERS:
        raise UsageRefusal(
            "the passphrase of a new key is too short",
            expected=f"at least {PASSPHRASE_LEAST_CHARACTERS} characters",
            got=count,
            where=where,
            hint="take four words at random, and run the command again; nothing was made",
        )


def new_passphrase(passphrase_file: Path | None, *, prompt: str) -> bytes:
    """Return the passphrase of a key that is made now: of the file, or asked for twice."""
    if passphrase_file is None:
        return ask_passphrase(prompt, is_new=True)
    passphrase = read_passphrase_file(passphrase_file)
    refuse_short(passphrase, where=passphrase_file)
    return passphrase


class PassphraseSource(Protocol):
    """Gets the passphrase or PIN of a key that turns out to need one."""

    def __call__(self, key: str = "", /) -> bytes:
        """Return it; the prompt names the key: each wrong PIN brings a token closer to its lock."""
        ...


def passphrase_source(passphrase_file: Path | None, *, prompt: str) -> PassphraseSource:
    """Return a function that gets the passphrase when a key turns out to need one.

    Args:
        passphrase_file: The file of `--passphrase-file`, or `None` to ask on the terminal.
        prompt: What to ask on the terminal.
    """

    def get(key: str = "", /) -> bytes:
        if passphrase_file is not None:
            return read_passphrase_file(passphrase_file)
        return ask_passphrase(f"{prompt}, {key}" if key else prompt)

    return get
