"""Reads the file that `provisioning.ledger_backup` wrote, line by line, believing none of them.

Only when `rows` has ended without an error was the whole file what was written: whoever acts on the
rows before that must be able to undo it, as a transaction is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from provisioning.errors import LedgerError
from provisioning.ledger_backup import BACKUP_SCHEMA, TABLES
from provisioning.ledger_revisions import require_known
from signing.input_file import open_input
from signing.validation_words import describe_problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

LINE_MAX_BYTES: Final = 4 << 20
"""An event's content has at most 1 MiB, twice that in hexadecimal."""
INTEGER_MAX: Final = (1 << 63) - 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class BackedUpLedger(_Part):
    """Which ledger was backed up."""

    uuid: str = Field(min_length=1, max_length=36)
    epoch: int = Field(ge=1)
    opening: str | None = Field(max_length=36)
    product: str = Field(min_length=1, max_length=64)


class BackedUpTable(_Part):
    """One table: the names of its columns, and how many rows follow."""

    columns: list[str]
    rows: int = Field(ge=0)


class BackupHeader(_Part):
    """The first line of a backup."""

    schema_: str = Field(alias="schema")
    ledger: BackedUpLedger
    revision: str
    taken_at: str
    chains: dict[str, tuple[int, str]]
    tables: dict[str, BackedUpTable]


@dataclass(slots=True)
class BackupReader:
    """An open backup; use it as a context, and read its rows once.

    Attributes:
        path: The file.
        header: Its first line.
        sha256: Digest of the file but its last line; known when the rows were read.
    """

    path: Path
    header: BackupHeader
    sha256: str
    _stream: BinaryIO
    _digest: Any
    _lines: int = 1

    @classmethod
    def open(cls, path: Path) -> BackupReader:
        """Open a backup and read its header.

        Raises:
            LedgerError: It cannot be read, is no backup, or is of a later version.
        """
        try:
            stream = open_input(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            first = _read_line(stream, path, 1)
            header = _parse_header(first, path)
        except BaseException:
            stream.close()
            raise
        return cls(path, header, "", stream, hashlib.sha256(first))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stream.close()

    def rows(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield table and values of each row, in the order of the tables.

        Raises:
            LedgerError: The file was changed, cut off or continued.
        """
        expected = [
            (name, self.header.tables[name]) for name in TABLES if name in self.header.tables
        ]
        for name, table in expected:
            for _ in range(table.rows):
                line = self._next()
                yield name, _parse_row(line, name, table.columns, f"{self.path}, {self._line()}")
        self._finish()

    def _next(self) -> bytes:
        self._lines += 1
        line = _read_line(self._stream, self.path, self._lines)
        self._digest.update(line)
        return line

    def _line(self) -> str:
        return f"line {self._lines}"

    def _finish(self) -> None:
        self.sha256 = self._digest.hexdigest()
        expected = {"lines": self._lines, "sha256": self.sha256}
        last = _read_line(self._stream, self.path, self._lines + 1)
        if _parse_json(last, f"{self.path}, last line") != expected:
            raise LedgerError(
                "the backup was changed after it was written",
                expected=f"{self._lines} lines with SHA-256 {self.sha256}",
                got=last[:120].decode(errors="replace").strip(),
                where=self.path,
                hint="use another copy of it, or another backup",
            )
        if self._stream.read(1):
            raise _damaged("something after its last line", self.path)


def _read_line(stream: BinaryIO, path: Path, number: int) -> bytes:
    try:
        line = stream.readline(LINE_MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not line.endswith(b"\n"):
        got = "a longer line" if len(line) > LINE_MAX_BYTES else "the end of the file"
        raise _damaged(got, f"{path}, line {number}")
    return line


def _parse_json(line: bytes, where: object) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged("a line that is not JSON", where) from error


def _parse_header(line: bytes, path: Path) -> BackupHeader:
    document = _parse_json(line, f"{path}, line 1")
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != BACKUP_SCHEMA:
        raise LedgerError(
            "this is not the backup of a ledger",
            expected=BACKUP_SCHEMA,
            got=repr(schema)[:80],
            where=path,
            hint="name a file that `ampforge ledger backup` wrote",
        )
    try:
        header = BackupHeader.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _damaged(f"{place} {describe_problem(first)}", f"{path}, line 1") from error
    require_known(header.revision, where=path)
    unknown = sorted(set(header.tables) - set(TABLES))
    if unknown:
        raise _damaged(f"a table {unknown[0]!r}", f"{path}, line 1")
    return header


def _parse_row(line: bytes, name: str, columns: list[str], where: str) -> dict[str, object]:
    document = _parse_json(line, where)
    if not isinstance(document, list) or len(document) != 2 or document[0] != name:  # noqa: PLR2004 - table and values
        raise _damaged(f"a line that is not a row of {name}", where)
    values = document[1]
    if not isinstance(values, list) or len(values) != len(columns):
        raise _damaged(f"a row without the {len(columns)} columns of {name}", where)
    return {
        column: _parse_value(value, where) for column, value in zip(columns, values, strict=True)
    }


def _parse_value(value: object, where: str) -> object:
    if value is None or (isinstance(value, str) and "\0" not in value):
        return value
    if type(value) is int and abs(value) <= INTEGER_MAX:
        return value
    if isinstance(value, dict) and list(value) == ["hex"] and isinstance(value["hex"], str):
        try:
            return bytes.fromhex(value["hex"])
        except ValueError:
            pass
    raise _damaged(f"the value {value!r:.60}", where)


def _unreadable(path: Path, error: OSError) -> LedgerError:
    return LedgerError(
        "the backup cannot be read",
        got=error.strerror,
        where=path,
        hint="check the path and its permissions",
    )


def _damaged(got: str, where: object) -> LedgerError:
    return LedgerError(
        "the backup is damaged",
        expected="the lines that `ampforge ledger backup` wrote",
        got=got,
        where=where,
        hint="use another copy of it, or another backup",
    )
