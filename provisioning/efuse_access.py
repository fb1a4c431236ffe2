"""Reads and burns a chip's eFuses, through espefuse as a library on an open loader.

It knows nothing of plans. espefuse checks coding schemes and protection, and reads back what it
burned; a burn that ends the loader's answers is the caller's to verify by other means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from firmware_images.efuse_comparison import EfuseFact
from firmware_images.efuse_fields import Stage
from provisioning.errors import EfuseError, FlashError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from firmware_images.efuse_fields import EfuseField

_KEY_BLOCK: Final = "BLOCK_KEY"
_PURPOSE: Final = "KEY_PURPOSE_"


class EfuseAccess(Protocol):
    """What the station needs of a chip's eFuses."""

    def read(self, names: Iterable[str]) -> Mapping[str, EfuseFact]:
        """Return what the chip tells of these fields."""
        ...

    def burn(self, fields: Sequence[EfuseField]) -> None:
        """Burn fields, all of one stage."""
        ...


class _LoaderGoneError(Exception):
    """Raised when the loader does not answer any more, where espefuse would connect anew."""


class EspefuseAccess:
    """The eFuses behind an open ROM loader.

    Args:
        esp: esptool's loader, fresh from its connection.
        talking: Wraps whatever talks to the chip, and turns foreign errors into ours.
        where: What to name in an error: the port's URL.
    """

    def __init__(
        self, esp: Any, *, talking: Callable[[], AbstractContextManager[None]], where: str
    ) -> None:
        self._esp = esp
        self._talking = talking
        self._where = where
        self._known: Any = None

    def read(self, names: Iterable[str]) -> Mapping[str, EfuseFact]:
        """Return what the chip tells of these fields.

        Raises:
            FlashError: The chip does not answer.
            PortError: The port died.
        """
        with self._talking():
            is_known = self._known is not None
            efuses = self._commands().efuses
            if is_known:  # a new one has just read them
                efuses.read_blocks()
                efuses.update_efuses()
            return {name: _read_field(efuses[name]) for name in names}

    def burn(self, fields: Sequence[EfuseField]) -> None:
        """Burn fields, all of one stage.

        Raises:
            EfuseError: espefuse refuses, or the loader is gone where it should not be.
            PortError: The port died.
        """
        may_end = any(field.stage is Stage.LAST for field in fields)
        try:
            with self._talking():
                self._burn(self._commands(), fields)
        except FlashError as error:
            raise EfuseError(
                "the eFuses cannot be burned",
                expected="a loader that burns and reads back",
                got=error.got,
                where=self._where,
                hint="start the slot again: what is burned already is not burned twice",
            ) from error
        except (_LoaderGoneError, SystemExit) as error:
            # espefuse ends the process when the burned lock took its loader away: as planned.
            if not may_end:
                raise EfuseError(
                    "the chip's loader is gone in the middle of burning",
                    where=self._where,
                    hint="start the slot again: what is burned already is not burned twice",
                ) from error

    def _commands(self) -> Any:
        from espefuse import init_commands

        if self._known is None:
            commands: Any = init_commands(esp=self._esp, do_not_confirm=True)
            # It would open the port a second time.
            commands.efuses.reconnect_chip = _refuse_reconnecting
            self._known = commands
        return self._known

    def _burn(self, commands: Any, fields: Sequence[EfuseField]) -> None:
        commands.use_batch_mode()  # each block is burned once
        wanted = {f.name: f.wanted for f in fields if f.wanted is not None}
        blocks = [name for name in wanted if name.startswith(_KEY_BLOCK)]
        purposes = [f"{_PURPOSE}{name.removeprefix(_KEY_BLOCK)}" for name in blocks]
        known: dict[object, str] = {number: name for name, number, *_ in _key_purposes(commands)}
        for block, purpose in zip(blocks, purposes, strict=True):
            # With the purpose, and both protected: one burn of espefuse's own.
            number = wanted.get(purpose, commands.efuses[purpose].get_raw())
            commands.burn_key([block], [], [known[number]], digest=[wanted[block]])
        values = {name: wanted[name] for name in wanted if name not in blocks + purposes}
        if values:
            commands.burn_efuse(values)
        protected = [field.name for field in fields if field.wanted is None]
        if protected:
            commands.write_protect_efuse(protected)
        if not commands.burn_all(check_batch_mode=True):
            raise EfuseError("espefuse burned nothing", where=self._where)


def _read_field(field: Any) -> EfuseFact:
    # espefuse keeps bits from the most significant one; a block's first byte is its last.
    bits = field.get_bitstring()
    value = bits.bytes[::-1] if field.efuse_type.startswith("bytes") else bits.uint
    return EfuseFact(
        value=value, is_readable=field.is_readable(), is_writeable=field.is_writeable()
    )


def _key_purposes(commands: Any) -> Sequence[tuple[str, int]]:
    purposes: Sequence[tuple[str, int]] = commands.efuses["KEY_PURPOSE_0"].KEY_PURPOSES
    return purposes


def _refuse_reconnecting(_esp: object) -> None:
    raise _LoaderGoneError
