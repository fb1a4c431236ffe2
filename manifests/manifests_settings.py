"""The sections that this package owns: `[repository]`, `[serve]`, `[update]`, `[suit]`.

```toml
[repository]
folder = "repository"
timestamp_expires_days = 7

[serve]
port = 8470
tls_certificate = "server.pem"
tls_key = "server.key"
metrics_port = 9470

[update]
minimum_battery_percent = 30

[suit]
vendor_domain = "flare.example"
base_url = "https://updates.flare.example"
```

Every value but `vendor_domain` has a default; the sections may be left out. Nothing is opened here.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from manifests.client_address import X_FORWARDED_FOR
from manifests.update_outcome import DEFAULT_MINIMUM_BATTERY_PERCENT

Days = Annotated[int, Field(ge=1, le=3650)]
OptionalPath = Annotated[Path | None, Field(strict=False)]
DEFAULT_PORT = 8470


class RepositorySettings(BaseModel):
    """Section `[repository]`: where it lies, and for how long what is signed holds.

    Attributes:
        folder: The repository's folder, relative to the configuration.
        bucket: `s3://BUCKET/FOLDER`, instead of a folder; needs the extra `ampforge[s3]`.
        endpoint: Base URL of the bucket's server; AWS, or `AWS_ENDPOINT_URL`, if it is left out.
        root_expires_days: TUF root.
        targets_expires_days: TUF targets: the list of releases.
        campaign_expires_days: TUF campaign delegation, and each assignment.
        snapshot_expires_days: TUF snapshot.
        timestamp_expires_days: TUF timestamp: how long a gateway can be kept in the past.
        manifest_expires_days: Device manifests.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    folder: Annotated[Path, Field(strict=False)] = Path("repository")
    bucket: Annotated[str, Field(max_length=300)] = ""
    endpoint: Annotated[str, Field(max_length=300)] = ""
    root_expires_days: Days = 730
    targets_expires_days: Days = 365
    campaign_expires_days: Days = 90
    snapshot_expires_days: Days = 30
    timestamp_expires_days: Days = 7
    manifest_expires_days: Days = 730

    def lifetime(self, name: str) -> timedelta:
        """Return how long something holds, by the name of its setting without the suffix."""
        days: int = getattr(self, f"{name}_expires_days")
        return timedelta(days=days)


class ServeSettings(BaseModel):
    """Section `[serve]`. Paths are relative to the configuration.

    Attributes:
        host: Address to listen on; only this machine unless it is set.
        port: TCP port.
        reports: Database of device reports.
        denied_devices: List of devices whose reports are refused; left out, none are.
        tls_certificate: PEM chain to serve with TLS; leave both out behind a proxy that ends TLS.
        tls_key: Its unencrypted PEM key.
        trusted_proxies: Addresses or networks that say who the client is; used for limits only.
        forwarded_header: Which header they set.
        api_requests_per_minute: Nonces and reports that one client may ask for.
        connections_per_address: At once; proxies are exempt.
        drain_s: How long running downloads may take when the server ends or is replaced.
        metrics_host: Address of the metrics; only this machine unless it is set.
        metrics_port: Port of the metrics; left out, there are none.
        access_log: JSON lines; left out, nothing is logged.
        control: Unix socket by which `serve --take-over` finds the running server.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = DEFAULT_PORT
    reports: Annotated[Path, Field(strict=False)] = Path("reports.sqlite")
    denied_devices: OptionalPath = None
    tls_certificate: OptionalPath = None
    tls_key: OptionalPath = None
    trusted_proxies: Annotated[tuple[str, ...], Field(strict=False, max_length=64)] = ()
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = X_FORWARDED_FOR
    api_requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    connections_per_address: Annotated[int, Field(ge=1, le=8192)] = 1024
    drain_s: Annotated[int, Field(ge=0, le=86_400)] = 120
    metrics_host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    access_log: OptionalPath = None
    control: OptionalPath = None


class UpdateSettings(BaseModel):
    """Section `[update]`: what the device keeps to.

    Attributes:
        minimum_battery_percent: Below it nothing is installed and nothing reboots.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    minimum_battery_percent: Annotated[int, Field(ge=0, le=100)] = DEFAULT_MINIMUM_BATTERY_PERCENT


class SuitSettings(BaseModel):
    """Section `[suit]`: what an exported SUIT envelope says beside the release.

    Attributes:
        vendor_domain: The maker's domain; vendor and class identifiers are derived from it, so it
            stays the same for ever.
        base_url: Where the repository is served; left out, artifacts are named by relative paths.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    vendor_domain: Annotated[str, Field(max_length=253)]
    base_url: Annotated[str, Field(max_length=1000)] = ""
