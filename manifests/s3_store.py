"""A store in a bucket that speaks S3: AWS, MinIO, R2, Ceph and others, over `obstore`.

A `PUT` is atomic, so a file is whole or absent. What keeps two publishers apart, without any
service but the bucket (docs/spec/repository-layout.md §8):

- *Leases.* `publishing/lease-N.json` is created with `If-None-Match: *`; the highest number holds
  the bucket until the time in it, which its holder extends. A publisher that was killed leaves one
  that ends by itself.
- *Conditions.* A file that was read under the lease is replaced with `If-Match` of what was read,
  and one that was absent is created with `If-None-Match: *`. So whoever outlived its lease cannot
  put an older timestamp over a newer one. A store that does not know `If-Match` has the lease only.

Credentials come from the environment (`AWS_ACCESS_KEY_ID` …) or the machine's role, never from a
file of ours. `obstore` is the extra `ampforge[s3]`.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from manifests.errors import RepositoryError
from manifests.repository_reading import TARGET_MAX_BYTES
from manifests.s3_address import cache_control_of
from manifests.s3_client import import_obstore, open_bucket
from manifests.s3_lease import (
    LEASE_FOLDER,
    LEASE_LIFETIME,
    LEASE_MAX_BYTES,
    HeldLease,
    lease_is_held,
    lease_number,
    lease_path,
    refuse_lease_in_force,
    serialize_lease,
)
from manifests.served_files import content_type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from manifests.s3_address import S3Address


class S3Store:
    """A `store.Store` in a bucket.

    Args:
        address: Where.
        clock: The present, UTC; those of all publishers are expected to agree within a minute.
    """

    def __init__(
        self, address: S3Address, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.address = address
        self._clock = clock
        self._bucket = open_bucket(address)
        self._held: HeldLease | None = None

    def __str__(self) -> str:
        return str(self.address)

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        """Return a file's content, or `None` if there is no such file.

        Raises:
            RepositoryError: It cannot be read, or is larger than any that we write.
        """
        content, etag = self._get(path, max_bytes=max_bytes)
        if self._held is not None:
            self._held.etags[path] = etag
        return content

    def write(self, path: str, content: bytes) -> None:
        """Create or replace a file in one step.

        Raises:
            RepositoryError: It cannot be written, or somebody else replaced it since it was read.
        """
        held = self._keep_lease()
        mode: Any = "overwrite"
        if held is not None and path in held.etags:
            etag = held.etags[path]
            mode = "create" if etag is None else {"e_tag": etag}
        etag = self._put(path, content, mode)
        if held is not None and path in held.etags:
            held.etags[path] = etag

    def copy(self, source: str, destination: str) -> None:
        """Give a file that never changes a second path, in one step, within the bucket.

        Raises:
            RepositoryError: It cannot be copied.
        """
        self._keep_lease()
        api = import_obstore()
        try:
            api.copy(self._bucket, source, destination, overwrite=True)
        except (OSError, api.exceptions.BaseError) as error:
            self._refuse(error, "written", destination)

    def list_paths(self) -> Iterator[str]:
        """Yield the path of every file.

        Raises:
            RepositoryError: The bucket cannot be listed.
        """
        yield from self._list("")

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold the bucket for one publisher.

        Raises:
            RepositoryError: Somebody else publishes right now, or the bucket is not writable.
        """
        self._held = held = self._take_lease()
        try:
            yield
        finally:
            self._held = None
            # What failed before is what is to be told; a lease that stays ends by itself.
            with suppress(RepositoryError):
                self._end_lease(held)

    def _take_lease(self) -> HeldLease:
        now = self._clock()
        latest = self._latest_lease()
        if latest:
            path = lease_path(latest)
            content = self.read(path, max_bytes=LEASE_MAX_BYTES) or b""
            refuse_lease_in_force(content, now=now, store=self, where=self._where(path))
        held = HeldLease(
            number=latest + 1, holder=secrets.token_hex(8), until=now + LEASE_LIFETIME, etags={}
        )
        api = import_obstore()
        try:
            self._put(lease_path(held.number), serialize_lease(held), "create")
        except RepositoryError as error:
            if isinstance(error.__cause__, api.exceptions.AlreadyExistsError):
                raise lease_is_held(self, "a publisher that was a moment earlier") from error
            raise
        # A number that was cleared away can be created again: only the highest one holds.
        if self._latest_lease() != held.number:
            self._end_lease(held)
            raise lease_is_held(self, "a publisher that was a moment earlier")
        for number in range(max(1, held.number - 2), held.number):
            self._remove(lease_path(number))
        return held

    def _keep_lease(self) -> HeldLease | None:
        held, now = self._held, self._clock()
        if held is None or held.until - now > LEASE_LIFETIME / 2:
            return held
        if now >= held.until or self._latest_lease() != held.number:
            raise lease_is_held(self, "a lease that ended before this publication did")
        held.until = now + LEASE_LIFETIME
        self._put(lease_path(held.number), serialize_lease(held), "overwrite")
        return held

    def _end_lease(self, held: HeldLease) -> None:
        held.until = datetime.fromtimestamp(0, UTC)
        self._put(lease_path(held.number), serialize_lease(held), "overwrite")

    def _latest_lease(self) -> int:
        return max(map(lease_number, self._list(f"{LEASE_FOLDER}/")), default=0)

    def _get(self, path: str, *, max_bytes: int) -> tuple[bytes | None, str | None]:
        """Return a file's content and ETag, or `None` for both if there is no such file."""
        api = import_obstore()
        try:
            result = api.get(self._bucket, path)
            if result.meta["size"] > max_bytes:
                raise RepositoryError(
                    "a file of the repository is too large",
                    expected=f"at most {max_bytes} bytes",
                    got=f"{result.meta['size']} bytes",
                    where=self._where(path),
                )
            return bytes(result.bytes()), result.meta["e_tag"]
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return None, None
        except (OSError, api.exceptions.BaseError) as error:
            self._refuse(error, "read", path)

    def _put(self, path: str, content: bytes, mode: Any) -> str | None:
        """Upload a file and return its ETag."""
        api = import_obstore()
        attributes = {
            "Cache-Control": cache_control_of(path),
            "Content-Type": content_type_of(path),
        }
        try:
            result = api.put(
                self._bucket, path, content, mode=mode, attributes=attributes, use_multipart=False
            )
        except (api.exceptions.PreconditionError, api.exceptions.AlreadyExistsError) as error:
            self._refuse_missing_bucket(error)
            # The store may have kept it, and its answer was lost: obstore then tried once more.
            there, etag = self._get(path, max_bytes=TARGET_MAX_BYTES)
            if there == content:
                return etag
            raise RepositoryError(
                "somebody else changed the repository while this publication was made",
                expected="the file as it was read",
                got="another one",
                where=self._where(path),
                hint="run the command again: it starts from what is published now",
            ) from error
        except (OSError, api.exceptions.BaseError) as error:
            self._refuse(error, "written", path)
        stored: str | None = result["e_tag"]
        return stored

    def _list(self, folder: str) -> Iterator[str]:
        api = import_obstore()
        try:
            for page in api.list(self._bucket, folder or None):
                yield from (str(entry["path"]) for entry in page)
        except (OSError, api.exceptions.BaseError) as error:
            self._refuse(error, "listed", folder)

    def _remove(self, path: str) -> None:
        api = import_obstore()
        try:
            api.delete(self._bucket, path)
        except FileNotFoundError:
            return
        except (OSError, api.exceptions.BaseError) as error:
            self._refuse(error, "removed", path)

    def _where(self, path: str) -> str:
        return f"{self.address}/{path}"

    def _refuse_missing_bucket(self, error: Exception) -> None:
        if "NoSuchBucket" in str(error):
            raise RepositoryError(
                "there is no such bucket",
                expected="a bucket that exists",
                got=self.address.bucket,
                where=self.address.endpoint or "AWS",
                hint="create it with your provider's tools, or correct [repository] bucket",
            ) from error

    def _refuse(self, error: Exception, act: str, path: str) -> NoReturn:
        self._refuse_missing_bucket(error)
        is_denied = any(word in str(error) for word in ("AccessDenied", "403", "401", "Invalid"))
        raise RepositoryError(
            f"a file of the repository cannot be {act}",
            got=" ".join(str(error).partition("Debug source")[0].split())[:300],
            where=self._where(path),
            hint="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and that the key "
            "may get, put, delete and list there"
            if is_denied
            else "check [repository] endpoint, or AWS_ENDPOINT_URL, and the connection",
        ) from error
