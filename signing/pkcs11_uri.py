"""Names of keys in hardware modules: `pkcs11:` URIs.

Implements RFC 7512 §2.3 as far as a private key is concerned (docs/spec/trust.md §10):

===========================================  ===================================================
path, separated by `;`                       selects
===========================================  ===================================================
`token`, `serial`, `manufacturer`, `model`   the token; `token` or `serial` must be there
`object`, `id`                               the key; one of them must be there
`type`                                       `private`, or left out
===========================================  ===================================================

and after `?`: `module-path`, the module's file. An attribute that is not in the table is refused,
because to overlook one could select another key than was meant. A PIN in a URI is refused, because
URIs are shown in process lists, shell histories, configurations and logs.

Nothing here loads a module or opens a token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from signing.errors import KeyFileError
from signing.value_class import dataclass

SCHEME: Final = "pkcs11:"
URI_MAX_CHARACTERS: Final = 1024

_TEXT_ATTRIBUTES: Final = ("token", "serial", "manufacturer", "model", "object")
_PATH_ATTRIBUTES: Final = (*_TEXT_ATTRIBUTES, "id", "type")
_QUERY_ATTRIBUTES: Final = ("module-path",)
_EXAMPLE: Final = "pkcs11:token=release;object=flare-release"
_HINT_PIN: Final = (
    "take the PIN out of the URI and change it, if others may have seen it; give it by "
    "AMPFORGE_PKCS11_PIN or --passphrase-file, or type it when asked"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """Which key of which token a URI names; what is `None` may be anything.

    Attributes:
        token: The token's label.
        serial: The token's serial number.
        manufacturer: The token's manufacturer.
        model: The token's model.
        object_label: The key's label, CKA_LABEL.
        object_id: The key's identifier, CKA_ID.
        module_path: The module's file, absolute.
    """

    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    object_label: str | None = None
    object_id: bytes | None = None
    module_path: Path | None = None

    def describe_token(self) -> str:
        """Return what selects the token, as a URI writes it."""
        return ";".join(
            f"{name}={value}"
            for name, value in (
                ("token", self.token),
                ("serial", self.serial),
                ("manufacturer", self.manufacturer),
                ("model", self.model),
            )
            if value is not None
        )

    def describe_object(self) -> str:
        """Return what selects the key, as a URI writes it; the identifier in hexadecimal."""
        return ";".join(
            f"{name}={value}"
            for name, value in (
                ("object", self.object_label),
                ("id", None if self.object_id is None else self.object_id.hex()),
            )
            if value is not None
        )


def is_pkcs11_uri(uri: str) -> bool:
    """Whether a key's URI names one in a hardware module (RFC 3986 §3.1: in any case)."""
    return uri[: len(SCHEME)].lower() == SCHEME


def parse_pkcs11_uri(uri: str) -> Pkcs11Uri:
    """Read a `pkcs11:` URI.

    Raises:
        KeyFileError: It does not name one key as the table above asks for, or holds a PIN. The
            message never repeats the URI, which may hold a secret.
    """
    if not is_pkcs11_uri(uri) or len(uri) > URI_MAX_CHARACTERS:
        raise _refused(f"a pkcs11: URI of at most {URI_MAX_CHARACTERS} characters", None)
    path, _, query = uri[len(SCHEME) :].partition("?")
    # The PIN first: whatever else is wrong, this is what the person must hear.
    if any(part.partition("=")[0].strip().lower() == "pin-value" for part in _parts(path, query)):
        raise KeyFileError("a PIN is never taken from a URI", got="pin-value", hint=_HINT_PIN)
    selected = _read_attributes(path, ";", _PATH_ATTRIBUTES)
    asked = _read_attributes(query, "&", _QUERY_ATTRIBUTES)
    texts = {name: _as_text(name, selected[name]) for name in _TEXT_ATTRIBUTES if name in selected}
    if selected.get("type", b"private") != b"private":
        raise _refused("type=private, or no type", "another type")
    if "token" not in texts and "serial" not in texts:
        raise _refused("token or serial, to say which token", "neither")
    if "object" not in texts and "id" not in selected:
        raise _refused("object or id, to say which key", "neither")
    return Pkcs11Uri(
        token=texts.get("token"),
        serial=texts.get("serial"),
        manufacturer=texts.get("manufacturer"),
        model=texts.get("model"),
        object_label=texts.get("object"),
        object_id=selected.get("id"),
        module_path=None if "module-path" not in asked else _as_module(asked["module-path"]),
    )


def as_module_path(text: str, *, where: str) -> Path:
    """Return a module's file name, which must be absolute: it is code that is run.

    Raises:
        KeyFileError: It is relative.
    """
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise KeyFileError(
            "a PKCS#11 module is named by a relative path",
            expected="an absolute path",
            got=ascii(text),
            where=where,
            hint="give the whole path, such as /usr/lib/softhsm/libsofthsm2.so",
        )
    return path


def _parts(path: str, query: str) -> list[str]:
    return [*path.replace("&", ";").split(";"), *query.replace(";", "&").split("&")]


def _read_attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    attributes: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name not in known:
            raise _refused(
                f"only {', '.join(known)}", ascii(name[:32]) if equals else "a part without ="
            )
        if name in attributes:
            raise _refused("each attribute once", f"{name} twice")
        if not equals or not value:
            raise _refused(f"a value for {name}", "nothing")
        attributes[name] = _decode(name, value)
    return attributes


def _decode(name: str, value: str) -> bytes:
    after_percent = [part[:2] for part in value.split("%")[1:]]
    if any(
        len(digits) != len("ff") or not set(digits) <= set("0123456789abcdefABCDEF")
        for digits in after_percent
    ):
        raise _refused("two hexadecimal digits after each %", f"something else in {name}")
    try:
        return unquote_to_bytes(value)
    except UnicodeEncodeError as error:  # a lone surrogate, from an argument that is not UTF-8
        raise _refused("UTF-8", f"other bytes in {name}") from error


def _as_text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _refused("UTF-8", f"other bytes in {name}") from error


def _as_module(value: bytes) -> Path:
    return as_module_path(_as_text("module-path", value), where="module-path of a pkcs11: URI")


def _refused(expected: str, got: str | None) -> KeyFileError:
    return KeyFileError(
        "a pkcs11: URI does not name a key",
        expected=expected,
        got=got,
        hint=f"write it like '{_EXAMPLE}', in quotes for a shell; `p11tool --list-all` and "
        "`pkcs11-tool -O` show the names",
    )
