"""Tokens of a PKCS#11 module: find one, log in, find a key, in words that a person can act on.

Implements docs/spec/trust.md §10. Importing this module imports python-pkcs11; `signing.signers`
does so only for a `pkcs11:` URI. A login belongs to the whole process and token (PKCS#11 v3.1
§5.6.7), so that a second key of the same token needs no second PIN.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import pkcs11
from pkcs11 import Attribute, ObjectClass, TokenFlag

from signing.errors import PassphraseError, Pkcs11Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from signing.pkcs11_uri import Pkcs11Uri

    Pin = Callable[[], str]

_GONE: Final = (
    pkcs11.DeviceError,
    pkcs11.DeviceRemoved,
    pkcs11.KeyHandleInvalid,
    pkcs11.ObjectHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.SessionHandleInvalid,
    pkcs11.SlotIDInvalid,
    pkcs11.TokenNotPresent,
    pkcs11.TokenNotRecognised,
)
_CANNOT: Final = (
    pkcs11.FunctionNotSupported,
    pkcs11.KeyTypeInconsistent,
    pkcs11.MechanismInvalid,
    pkcs11.MechanismParamInvalid,
)


@contextmanager
def translated(what: str, where: str) -> Iterator[None]:
    """Turn the module's errors into ours.

    Args:
        what: What was being done, as the beginning of a sentence.
        where: The module, token or key.

    Raises:
        Pkcs11Error: The module or the token refused.
    """
    try:
        yield
    except _GONE as error:
        raise Pkcs11Error(
            f"{what}: the token was removed, or forgot this session",
            got=type(error).__name__,
            where=where,
            hint="put the token back and run the command again; nothing was written",
        ) from error
    except _CANNOT as error:
        raise Pkcs11Error(
            f"{what}: the token does not have the mechanism",
            got=type(error).__name__,
            where=where,
            hint="`pkcs11-tool -M` lists what the token can do; use a key that it can sign with",
        ) from error
    except pkcs11.PKCS11Error as error:
        raise Pkcs11Error(
            f"{what}: the module refused",
            got=f"{type(error).__name__} {error}".strip(),
            where=where,
            hint="try the same with `pkcs11-tool --test --login`, or ask the module's maker",
        ) from error


def load_module(path: Path) -> Any:
    """Load a PKCS#11 module into this process, once.

    Raises:
        Pkcs11Error: The file is not there, or is no PKCS#11 module.
    """
    try:
        return pkcs11.lib(str(path))
    except pkcs11.PKCS11Error as error:
        raise Pkcs11Error(
            "a PKCS#11 module cannot be loaded",
            got=str(error) or type(error).__name__,
            where=path,
            hint="check AMPFORGE_PKCS11_MODULE, or module-path in the URI, and the module's own "
            "configuration",
        ) from error


def find_token(module: Any, uri: Pkcs11Uri) -> Any:
    """Return the one token that a URI names.

    Raises:
        Pkcs11Error: There is none, or more than one.
    """
    where = str(module.so)
    tokens = []
    with translated("the tokens cannot be listed", where):
        for slot in module.get_slots(token_present=True):
            try:
                tokens.append(slot.get_token())
            except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                continue
    initialized = [token for token in tokens if token.flags & TokenFlag.TOKEN_INITIALIZED]
    found = [token for token in initialized if _is_named(token, uri)]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"token={token.label};serial={_serial(token)}" for token in initialized)
    if found:
        raise Pkcs11Error(
            "more than one token has that name",
            expected=uri.describe_token(),
            got=there,
            where=where,
            hint="add serial=… to the URI",
        )
    raise Pkcs11Error(
        "there is no such token",
        expected=uri.describe_token(),
        got=there or "no token",
        where=where,
        hint="connect the token, or correct the URI",
    )


def open_key(token: Any, uri: Pkcs11Uri, pin: Pin) -> tuple[Any, Any]:
    """Log in where that is needed, and return the session and the one private key of a URI.

    Args:
        token: The token.
        uri: Names the key.
        pin: Asked once, and only if this process is not logged in to the token yet.

    Raises:
        PassphraseError: The PIN is wrong or locked.
        Pkcs11Error: There is no such key, or more than one, or the token refused.
    """
    where = f"token={token.label}"
    with translated("the token cannot be opened", where):
        session = token.open()
        keys = _find_private_keys(session, uri)
        is_open = not token.flags & TokenFlag.LOGIN_REQUIRED
        # Keys that are private to the user are seen by a session only after a login.
        if not is_open and not (keys and keys[0][Attribute.PRIVATE]):
            # Logged in already by another key of this token: that counts for this session, too.
            with suppress(pkcs11.UserAlreadyLoggedIn):
                session = _log_in(token, session, pin)
            keys = _find_private_keys(session, uri)
        names = [] if keys else _names_of_private_keys(session)
    if len(keys) == 1:
        return session, keys[0]
    if keys:
        raise Pkcs11Error(
            "more than one private key has that name",
            expected=uri.describe_object(),
            got=f"{len(keys)} keys",
            where=where,
            hint="name the key by id=…, or give each key a label of its own",
        )
    raise Pkcs11Error(
        "the token holds no such private key",
        expected=uri.describe_object(),
        got=", ".join(names) or "no private key",
        where=where,
        hint="correct object or id in the URI",
    )


def find_public_key_object(session: Any, private_key: Any, *, where: str) -> Any:
    """Return the public key object that belongs to a private one: same CKA_ID, else same label.

    Raises:
        Pkcs11Error: There is none, or more than one.
    """
    with translated("the public key cannot be read", where):
        identifier = private_key[Attribute.ID]
        template = {Attribute.CLASS: ObjectClass.PUBLIC_KEY}
        if identifier:
            template[Attribute.ID] = identifier
        else:
            template[Attribute.LABEL] = private_key[Attribute.LABEL]
        found = list(session.get_objects(template))
    if len(found) != 1:
        raise Pkcs11Error(
            "the token does not hold the public key of the private one",
            expected="one public key object with the same id",
            got=len(found),
            where=where,
            hint="write it to the token with `pkcs11-tool --write-object --type pubkey`",
        )
    return found[0]


def _log_in(token: Any, session: Any, pin: Pin) -> Any:
    secret = pin()
    try:
        logged_in = token.open(user_pin=secret)
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
        raise PassphraseError(
            "the token does not accept the PIN",
            got=describe_tries(token.slot.get_token().flags),
            where=f"token={token.label}",
            hint="check the PIN and that it is the user's, not the security officer's",
        ) from error
    except pkcs11.PinLocked as error:
        raise PassphraseError(
            "the token's PIN is locked after too many wrong ones",
            where=f"token={token.label}",
            hint="the token's security officer must set a new PIN",
        ) from error
    except (pkcs11.UserPinNotInitialized, pkcs11.PinExpired) as error:
        raise PassphraseError(
            "the token's PIN must be set first",
            got=type(error).__name__,
            where=f"token={token.label}",
            hint="set it with `pkcs11-tool --init-pin`, or with the maker's own tool",
        ) from error
    session.close()
    return logged_in


def describe_tries(flags: TokenFlag) -> str:
    """Say what a token tells of the tries that are left (CK_TOKEN_INFO, PKCS#11 v3.1 §3.2)."""
    if flags & TokenFlag.USER_PIN_LOCKED:
        return "the PIN is locked now"
    if flags & TokenFlag.USER_PIN_FINAL_TRY:
        return "one try is left, then the PIN is locked"
    if flags & TokenFlag.USER_PIN_COUNT_LOW:
        return "wrong at least once since the last login; the token does not say how many are left"
    return "the token does not say how many tries are left"


def _find_private_keys(session: Any, uri: Pkcs11Uri) -> list[Any]:
    template: dict[Attribute, object] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if uri.object_label is not None:
        template[Attribute.LABEL] = uri.object_label
    if uri.object_id is not None:
        template[Attribute.ID] = uri.object_id
    return list(session.get_objects(template))


def _names_of_private_keys(session: Any) -> list[str]:
    return [
        f"object={key[Attribute.LABEL]};id={key[Attribute.ID].hex()}"
        for key in session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
    ]


def _is_named(token: Any, uri: Pkcs11Uri) -> bool:
    return all(
        wanted is None or wanted == there
        for wanted, there in (
            (uri.token, token.label),
            (uri.serial, _serial(token)),
            (uri.manufacturer, token.manufacturer_id),
            (uri.model, token.model),
        )
    )


def _serial(token: Any) -> str:
    return str(token.serial.decode("ascii", "replace").strip())
