"""The description of the services beside the files: OpenAPI 3.1.

Its one source is here, with the bounds of the code that keeps them. It is served at
`/api/openapi.json` and lies in docs/spec/openapi.json. The files themselves are static, and
described by docs/spec/repository-layout.md.
"""

from __future__ import annotations

import json
from typing import Any

from manifests.carried_reports import CARRIED_MAX, CARRIED_MAX_BYTES
from manifests.device_report import REPORT_MAX_BYTES
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.server_health import HealthStatus, ReportsState, TimestampState
from manifests.server_paths import (
    FRESHNESS_PATH,
    HEALTH_PATH,
    OPENAPI_PATH,
    REPORT_BATCHES_PATH,
    REPORTS_PATH,
)

DESCRIPTION_VERSION = "1.2.0"
_NO_STORE = {
    "Cache-Control": {
        "description": "Never to be cached.",
        "required": True,
        "schema": {"const": "no-store"},
    }
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which it may be tried again.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
    }
}
_ALLOW = {
    "Allow": {
        "description": "The methods that are known here.",
        "required": True,
        "schema": {"type": "string"},
    }
}


def openapi_document() -> dict[str, Any]:
    """Return the description, as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ampforge update server",
            "version": DESCRIPTION_VERSION,
            "description": "The dynamic part of an update server: everything else is static files.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "paths": {
            FRESHNESS_PATH: {"post": _freshness()},
            REPORTS_PATH: {"post": _reports()},
            REPORT_BATCHES_PATH: {"post": _report_batches()},
            HEALTH_PATH: {"get": _health()},
            OPENAPI_PATH: {"get": _description()},
        },
    }


def serialize_openapi() -> str:
    """Return the description as it lies in docs/spec/openapi.json."""
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


def _freshness() -> dict[str, Any]:
    answer = {"application/cose": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "operationId": "answerNonce",
        "summary": "Sign a device's nonce, with the time and the assignment in force.",
        "description": "docs/spec/freshness.md. The request is not signed, and grants nothing.",
        "requestBody": _body(MESSAGE_MAX_BYTES, "Deterministic CBOR."),
        "responses": {
            "200": {
                "description": "COSE_Sign1 by the freshness role.",
                "headers": _NO_STORE,
                "content": answer,
            },
            **_refusals(),
        },
    }


def _reports() -> dict[str, Any]:
    return {
        "operationId": "storeReport",
        "summary": "Store a report that a device signed, durably.",
        "description": "docs/spec/device-report.md. Sending it again changes nothing.",
        "requestBody": _body(REPORT_MAX_BYTES, "Deterministic CBOR: certificate and COSE_Sign1."),
        "responses": {
            "200": _text("The same payload was stored before.", _NO_STORE),
            "201": _text("Stored: it is on the disk.", _NO_STORE),
            "403": _text("The operator takes no reports of this device.", _NO_STORE),
            **_refusals(),
        },
    }


def _report_batches() -> dict[str, Any]:
    outcome = {
        "type": "object",
        "required": ["status", "text"],
        "properties": {"status": {"enum": [200, 201, 400, 403, 503]}, "text": {"type": "string"}},
        "additionalProperties": False,
    }
    outcomes = {"type": "array", "items": outcome, "minItems": 1, "maxItems": CARRIED_MAX}
    schema = {
        "type": "object",
        "required": ["outcomes"],
        "properties": {"outcomes": outcomes},
        "additionalProperties": False,
    }
    return {
        "operationId": "storeReports",
        "summary": "Store reports of several devices, each durably or not at all.",
        "description": "docs/spec/device-report.md §6. Sending them again changes nothing.",
        "requestBody": _body(
            CARRIED_MAX_BYTES, f"Deterministic CBOR: an array of 1 to {CARRIED_MAX} byte strings."
        ),
        "responses": {
            "200": {
                "description": "What became of each, in the same order.",
                "headers": _NO_STORE,
                "content": {"application/json": {"schema": schema}},
            },
            **{status: one for status, one in _refusals().items() if status != "503"},
        },
    }


def _health() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["status", "timestamp", "reports"],
        "properties": {
            "status": {"enum": list(HealthStatus)},
            "timestamp": {
                "type": "object",
                "required": ["state", "expires_at"],
                "properties": {
                    "state": {"enum": list(TimestampState)},
                    "expires_at": {"type": ["string", "null"], "format": "date-time"},
                },
                "additionalProperties": False,
            },
            "reports": {"enum": list(ReportsState)},
        },
        "additionalProperties": False,
    }
    content = {"application/json": {"schema": schema}}
    return {
        "operationId": "tellHealth",
        "summary": "Say whether metadata that holds is served, and reports can be stored.",
        "responses": {
            "200": {"description": "All of it.", "headers": _NO_STORE, "content": content},
            "503": {
                "description": "`status` says what is wrong.",
                "headers": _NO_STORE,
                "content": content,
            },
            "405": _text("Use GET or HEAD.", _ALLOW),
        },
    }


def _description() -> dict[str, Any]:
    schema = {"type": "object", "required": ["openapi", "paths"]}
    return {
        "operationId": "describe",
        "summary": "This description.",
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "headers": _NO_STORE,
                "content": {"application/json": {"schema": schema}},
            },
            "405": _text("Use GET or HEAD.", _ALLOW),
        },
    }


def _body(max_bytes: int, description: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary", "minLength": 1, "maxLength": max_bytes}
    return {
        "required": True,
        "description": f"{description} At most {max_bytes} bytes, with a Content-Length.",
        "content": {"application/cbor": {"schema": schema}},
    }


def _refusals() -> dict[str, Any]:
    return {
        "400": _text("Refused: what, expected, got.", {}),
        "404": _text("This server was not given the keys for it.", {}),
        "405": _text("Use POST.", _ALLOW),
        "411": _text("A Content-Length is needed.", {}),
        "413": _text("Too long.", {}),
        "429": _text("Too many requests by this client.", {**_NO_STORE, **_RETRY_AFTER}),
        "503": _text("It cannot be done now.", {}),
    }


def _text(description: str, headers: dict[str, Any]) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"description": description, "headers": headers, "content": content}
