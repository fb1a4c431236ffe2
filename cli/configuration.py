"""Loads `ampforge.toml`; each package owns the model of its own section."""

from __future__ import annotations

import os
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cli.failures import UsageRefusal
from signing.input_file import is_present, read_input
from signing.value_class import dataclass

if TYPE_CHECKING:
    from signing.written_checks import Problem

Model = TypeVar("Model")

FILE_NAME = "ampforge.toml"
CONFIGURATION_MAX_BYTES = 1 << 20
SECTIONS: Final = (
    "product",
    "release",
    "spec_sheet",
    "suit",
    "signing",
    "station",
    "repository",
    "delta",
    "serve",
    "update",
)
"""All that may stand at the top of the file. Most may be left out, so a misspelled one would be
taken for one that was: its command would go by the defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One `ampforge.toml` of known sections: each is parsed when a command needs it.

    Attributes:
        path: The file itself.
        document: The whole file as TOML tables.
    """

    path: Path
    document: dict[str, object]

    @property
    def root(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self.path.parent

    def resolve(self, path: str | Path) -> Path:
        """Return a path of the file as seen from the folder of the file."""
        return self.root / path

    def has_section(self, name: str) -> bool:
        """Whether a section, dotted as `station.metrology`, is there."""
        return self._find(name) is not None

    def section(self, name: str, model: type[Model]) -> Model:
        """Return one section as the model of the package that owns it.

        Args:
            name: The section, dotted for nested tables (`station.metrology`).
            model: What the section must look like: a dataclass of `written` fields, or a pydantic
                model.

        Raises:
            UsageRefusal: The section is missing, or a value in it is not acceptable.
        """
        table = self._find(name)
        if table is None:
            raise UsageRefusal(
                f"the configuration has no section [{name}]",
                where=self.path,
                hint=f"add [{name}]; `ampforge init` writes a complete example to compare with",
            )
        if not is_dataclass(model):
            validated: Model = self._validate(name, table, model)
            return validated
        from signing.written_checks import UnfitTableError
        from signing.written_table import read_table

        try:
            return read_table(model, table)
        except UnfitTableError as error:
            raise self._refuse(name, error.problems[0]) from error

    def _validate(self, name: str, table: dict[str, object], model: Any) -> Any:
        from pydantic import ValidationError

        from signing.validation_words import describe_problem, first_problem
        from signing.written_checks import Problem

        try:
            return model.model_validate_json(_as_json(table))
        except ValidationError as error:
            first = first_problem(error)
            problem = Problem(
                place=first["loc"],
                words=describe_problem(first, model),
                value=first.get("input"),
                is_rule=first["type"] == "value_error",
                has_value=first["type"] not in {"missing", "extra_forbidden"},
            )
            raise self._refuse(name, problem) from error

    def _refuse(self, name: str, problem: Problem) -> UsageRefusal:
        from signing.written_table import show_value

        # A rule over several values names them itself, and its input is the whole section.
        key = "" if problem.is_rule or not problem.place else f"{problem.place[-1]} "
        has_value = problem.has_value and not problem.is_rule
        return UsageRefusal(
            f"the configuration is not acceptable: {key}{problem.tell()}",
            got=show_value(problem.value)[:120] if has_value else None,
            where=f"{self.path}, {'.'.join(str(part) for part in (name, *problem.place))}",
            hint="correct the value; `ampforge init` writes an example to compare with",
        )

    def _find(self, name: str) -> dict[str, object] | None:
        table: object = self.document
        for part in name.split("."):
            table = table.get(part) if isinstance(table, dict) else None
        return table if isinstance(table, dict) else None


def _as_json(table: dict[str, object]) -> str:
    # Strict models accept tuples, paths and enums from JSON, not from Python lists and strings.
    import json

    return json.dumps(table, default=str)


def find_configuration_file(start: Path) -> Path | None:
    """Return the nearest `ampforge.toml` in a folder or above it."""
    for folder in (start, *start.parents):
        path = folder / FILE_NAME
        if is_present(path) and not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir may raise
            return path
    return None


def current_folder() -> Path:
    """Return the folder that the command was started in.

    Raises:
        UsageRefusal: It was removed since.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageRefusal(
            "the folder that this runs in is gone",
            got=error.strerror,
            hint="change to a folder that exists",
        ) from error


def has_configuration() -> bool:
    """Whether `load_configuration` finds a file where none is given."""
    return bool(os.environ.get("AMPFORGE_CONFIG")) or (
        find_configuration_file(current_folder()) is not None
    )


def load_configuration(path: Path | None = None) -> Configuration:
    """Load `ampforge.toml`: the given one, else `AMPFORGE_CONFIG`, else this folder and upward.

    Raises:
        UsageRefusal: There is none, it is not TOML, or something at its top is no section of ours.
    """
    if path is None and (named := os.environ.get("AMPFORGE_CONFIG")):
        path = Path(named)
    found = path if path is not None else find_configuration_file(current_folder())
    if found is None:
        raise UsageRefusal(
            f"no {FILE_NAME} here or in a folder above",
            where=current_folder(),
            hint="run `ampforge init` to start from the example product, or give --config FILE",
        )
    from signing.bounded_toml import parse_toml

    try:
        content = read_input(found, CONFIGURATION_MAX_BYTES)
    except OSError as error:
        raise UsageRefusal(
            "the configuration cannot be read",
            got=error.strerror,
            where=found,
            hint="give the path of an ampforge.toml with --config",
        ) from error
    if len(content) > CONFIGURATION_MAX_BYTES:
        raise UsageRefusal(
            "the configuration is too large",
            expected=f"at most {CONFIGURATION_MAX_BYTES} bytes",
            got="more",
            where=found,
            hint="check that --config names an ampforge.toml",
        )
    try:
        document = parse_toml(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOML, UTF-8 and endless integers alike
        raise UsageRefusal(
            "the configuration is not valid TOML",
            got=str(error)[:200],
            where=found,
            hint="correct the line that the message names",
        ) from error
    _check_sections(document, found)
    return Configuration(path=found.resolve(), document=document)


def _check_sections(document: dict[str, object], path: Path) -> None:
    for name, value in document.items():
        if name in SECTIONS and isinstance(value, dict):
            continue
        if name in SECTIONS:
            problem = f"{name} must be a section"
            hint = f"write [{name}] on a line of its own, and its keys below it"
        else:
            from signing.validation_words import suggest

            kind = "section" if isinstance(value, (dict, list)) else "key outside the sections"
            problem = f"{name} is not a {kind} that is known here{suggest(name, SECTIONS)}"
            hint = "correct its name; `ampforge init` writes an example to compare with"
        raise UsageRefusal(
            f"the configuration is not acceptable: {problem}",
            expected=" ".join(f"[{section}]" for section in SECTIONS),
            where=path,
            hint=hint,
        )
