"""The client of a bucket: `obstore`, the extra `ampforge[s3]`, set up by the environment."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from manifests.errors import RepositoryError

if TYPE_CHECKING:
    import obstore

    from manifests.s3_address import S3Address


def open_bucket(address: S3Address) -> obstore.store.S3Store:
    """Return a client of a bucket; nothing is asked of it yet.

    Raises:
        RepositoryError: The extra `ampforge[s3]` is not installed.
    """
    api = import_obstore()
    environment = os.environ
    endpoint = address.endpoint or environment.get("AWS_ENDPOINT_URL_S3", "")
    endpoint = endpoint or environment.get("AWS_ENDPOINT_URL", "")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    # Under this name, because the environment's would come before `endpoint`.
    options: dict[str, Any] = {"aws_endpoint_url_s3": endpoint} if endpoint else {}
    bucket: obstore.store.S3Store = api.store.S3Store(
        address.bucket,
        prefix=address.prefix or None,
        region=region,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "timeout": "120s",
            "connect_timeout": "10s",
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
        disable_bulk_delete=True,
        **options,
    )
    return bucket


def import_obstore() -> Any:
    """Return the module `obstore` with its exceptions and stores.

    Raises:
        RepositoryError: The extra `ampforge[s3]` is not installed.
    """
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise RepositoryError(
            "publishing to a bucket needs the package obstore",
            expected="the extra ampforge[s3]",
            hint="install it: pip install 'ampforge[s3]'",
        ) from error
    return obstore
