"""Where a repository lies in a bucket, and for how long a CDN may keep its files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from manifests.errors import RepositoryError
from manifests.served_files import IMMUTABLE, is_immutable_name

SHORT_LIVED = "public, max-age=60, must-revalidate"
_PRIVATE = "no-store"
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9._+/-]{0,200}))?")
_SERVED_FOLDERS = ("metadata/", "targets/", "device/")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """Where a repository lies in a bucket.

    Attributes:
        bucket: Its name.
        prefix: Folder in it; empty for the bucket itself.
        endpoint: Base URL of the server; empty for AWS, or what `AWS_ENDPOINT_URL` says.
    """

    bucket: str
    prefix: str
    endpoint: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_s3_address(text: str, *, endpoint: str = "") -> S3Address:
    """Return the address in `s3://BUCKET/PREFIX`.

    Raises:
        RepositoryError: It is none, or the endpoint is no `http` or `https` URL.
    """
    match = _ADDRESS.fullmatch(text)
    parts = (match[2] or "").strip("/").split("/") if match else []
    if match is None or any(part in {".", ".."} for part in parts) or "" in parts[1:]:
        raise RepositoryError(
            "the address of a bucket cannot be read",
            expected="s3://BUCKET or s3://BUCKET/FOLDER",
            got=text[:200],
            hint="correct [repository] bucket",
        )
    if endpoint and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]_/-]{1,255}", endpoint):
        raise RepositoryError(
            "the endpoint of a bucket is not a URL",
            expected="https://HOST or http://HOST:PORT",
            got=endpoint[:200],
            hint="correct [repository] endpoint, or leave it out for AWS",
        )
    return S3Address(bucket=match[1], prefix="/".join(parts), endpoint=endpoint)


def cache_control_of(path: str) -> str:
    """Return for how long a CDN may keep a file (docs/spec/repository-layout.md §8)."""
    if not path.startswith(_SERVED_FOLDERS):
        return _PRIVATE
    return IMMUTABLE if is_immutable_name(path.rpartition("/")[2]) else SHORT_LIVED
