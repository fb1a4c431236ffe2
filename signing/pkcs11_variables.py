"""The environment variables that name a PKCS#11 module and its PIN (docs/spec/trust.md §10)."""

from __future__ import annotations

from typing import Final

MODULE_VARIABLE: Final = "AMPFORGE_PKCS11_MODULE"
PIN_VARIABLE: Final = "AMPFORGE_PKCS11_PIN"
