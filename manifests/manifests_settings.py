"""The sections of `ampforge.toml` that this package owns: `[repository]`, `[serve]`, `[update]`.

```toml
[repository]
folder = "repository"
timestamp_expires_days = 7

[serve]
port = 8470

[update]
minimum_battery_percent = 30
```

Every value has a default; the sections may be left out. Nothing is opened here.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from manifests.update_outcome import DEFAULT_MINIMUM_BATTERY_PERCENT

Days = Annotated[int, Field(ge=1, le=3650)]
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
    """Section `[serve]`.

    Attributes:
        host: Address to listen on; only this machine unless it is set.
        port: TCP port.
        reports: Database of device reports, relative to the configuration.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = DEFAULT_PORT
    reports: Annotated[Path, Field(strict=False)] = Path("reports.sqlite")


class UpdateSettings(BaseModel):
    """Section `[update]`: what the device keeps to.

    Attributes:
        minimum_battery_percent: Below it nothing is installed and nothing reboots.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    minimum_battery_percent: Annotated[int, Field(ge=0, le=100)] = DEFAULT_MINIMUM_BATTERY_PERCENT
