"""A gateway's or phone's side: everything it relays to a board, it verified by TUF before.

The board trusts COSE alone and would refuse what is wrong; the gateway verifies because it has a
clock, a disk and TUF's protection against freezing, mixing and endless data, and so that it never
wears a board out with bytes that cannot be right. python-tuf's `ngclient` does the verifying.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from firmware_images.errors import BundleError
from firmware_images.release_constraints import (
    NO_CONSTRAINTS,
    ReleaseConstraints,
    constraints_from_document,
    last_day_of,
)
from manifests.connection_failures import describe_cause, refuse_unreachable
from manifests.download_pace import MINIMUM_BYTES_PER_S
from manifests.errors import TransportError
from manifests.http_transport import DEFAULT_TIMEOUT_S, HttpTransport, parse_base_url
from manifests.published_releases import MANIFEST_KIND, assignment_target_path
from manifests.update_report import REPORT_PATH
from manifests.update_sources import FRESHNESS_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tuf.ngclient.updater import Updater

    from manifests.transfer import Fetch

Result = TypeVar("Result")
ROOT_MAX_BYTES = 512_000
ARTIFACT_MAX_BYTES = 64 << 20
DEVICE_PREFIX = "device/"
ASSIGNMENT_SUFFIX = "/assignment.cose"
BOARD_SERVICES = frozenset({FRESHNESS_PATH, REPORT_PATH})


class Gateway:
    """A `transfer.Transport` that gives out TUF targets, verified, and passes posts through.

    Args:
        base_url: The server's root.
        trusted_root: The first root metadata, from a trusted place and never from the server.
        cache: Folder for metadata and targets; kept, it protects against going back in time.
        read_clock: Gives the time, aware.
        timeout_s: Longest wait for a connection, and for each read.
        minimum_bytes_per_s: The average of each answer, after a grace of one timeout.
    """

    def __init__(
        self,
        base_url: str,
        *,
        trusted_root: bytes,
        cache: Path,
        read_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timeout_s: float = DEFAULT_TIMEOUT_S,
        minimum_bytes_per_s: float = MINIMUM_BYTES_PER_S,
    ) -> None:
        self._base_url = parse_base_url(base_url)
        self._trusted_root = trusted_root
        self._cache = cache
        self._timeout_s = timeout_s
        self._minimum_bytes_per_s = minimum_bytes_per_s
        self._http = HttpTransport(
            base_url, timeout_s=timeout_s, minimum_bytes_per_s=minimum_bytes_per_s
        )
        self._updater: Updater | None = None
        self._targets: dict[str, bytes] = {}
        self._waivers: tuple[Mapping[str, Any], ...] = ()
        self._constraints = NO_CONSTRAINTS
        self._read_clock = read_clock

    @property
    def waivers(self) -> tuple[Mapping[str, Any], ...]:
        """What was waived for the release whose manifest was given out last.

        As `LimitWaiver.to_json` says it; the targets metadata lists them beside the manifest.
        """
        return self._waivers

    @property
    def constraints(self) -> ReleaseConstraints:
        """Step and support of the release whose manifest was given out last."""
        return self._constraints

    def refresh(self) -> None:
        """Bring the metadata up to date, from root to targets.

        Raises:
            TransportError: The server cannot be reached, or what it serves does not verify.
        """
        self._targets.clear()
        updater = self._open_updater()
        self._translated(updater.refresh, "the repository's metadata")
        self._updater = updater

    def fetch(self, fetch: Fetch) -> bytes:
        """Return bytes of a verified target, or the answer to a post.

        Raises:
            TransportError: There is no such target, it does not verify, it is larger than what was
                asked for, or a post is to something else than a service for boards.
        """
        if fetch.body is not None:
            _refuse_other_service(fetch.path)
            return self._http.fetch(fetch)
        content = self._read_target(target_path_of(fetch.path))
        if not fetch.is_part and len(content) > fetch.max_bytes:
            raise TransportError(
                "a message is larger than a board accepts",
                expected=f"at most {fetch.max_bytes} bytes",
                got=f"{len(content)} bytes",
                where=fetch.path,
            )
        return content[fetch.offset_bytes : fetch.offset_bytes + fetch.max_bytes]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _open_updater(self) -> Updater:
        from tuf.api.exceptions import RepositoryError as TufError
        from tuf.ngclient.updater import Updater

        from manifests.gateway_fetcher import GatewayFetcher

        metadata, targets = self._cache / "metadata", self._cache / "targets"
        try:
            metadata.mkdir(parents=True, exist_ok=True)
            targets.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransportError(
                "the gateway's cache cannot be made",
                got=error.strerror,
                where=self._cache,
                hint="name another folder with --cache",
            ) from error
        try:
            return Updater(
                metadata_dir=str(metadata),
                metadata_base_url=f"{self._base_url}/metadata/",
                target_dir=str(targets),
                target_base_url=f"{self._base_url}/targets/",
                fetcher=GatewayFetcher(
                    timeout_s=self._timeout_s, minimum_bytes_per_s=self._minimum_bytes_per_s
                ),
                bootstrap=self._trusted_root,
            )
        except TufError as error:  # nothing was asked of the server yet
            raise TransportError(
                "the trusted TUF root cannot be used",
                expected="root metadata that its own keys signed",
                got=str(error)[:300],
                where="the trusted root",
                hint="name the metadata/1.root.json that `ampforge repo init` made",
            ) from error
        except (OSError, ValueError) as error:
            raise self._cannot_keep(error) from error

    def _read_target(self, path: str) -> bytes:
        if path not in self._targets:
            if self._updater is None:
                self.refresh()
            self._targets[path] = self._translated(lambda: self._download(path), path)
        return self._targets[path]

    def _download(self, path: str) -> bytes:
        from pathlib import Path

        assert self._updater is not None
        entry = self._updater.get_targetinfo(path)
        if entry is None or entry.length > ARTIFACT_MAX_BYTES:
            raise TransportError(
                "the repository lists no such target",
                expected=path,
                got="nothing" if entry is None else f"{entry.length} bytes",
                where=self._base_url,
                hint="the board was shown something that nobody signed, or it was withdrawn",
            )
        if entry.custom and entry.custom.get("kind") == MANIFEST_KIND:
            self._waivers = tuple(entry.custom.get("waivers", ()))
            self._constraints = self._supported(entry.custom, path)
        file_path = self._updater.find_cached_target(entry) or self._updater.download_target(entry)
        return Path(file_path).read_bytes()

    def _supported(self, custom: Mapping[str, Any], path: str) -> ReleaseConstraints:
        try:
            constraints = constraints_from_document(custom, where=path)
        except BundleError as error:
            raise TransportError(
                error.what, expected=error.expected, got=error.got, where=path, hint=error.hint
            ) from error
        ends_at = constraints.support_ends_at
        if ends_at is not None and not constraints.is_supported(self._read_clock()):
            raise TransportError(
                "the support of the release that is assigned has ended: it is relayed to nobody",
                expected="a release that is supported today",
                got=f"support until {last_day_of(ends_at)}",
                where=path,
                hint="its maker has to publish a release with a later end of support",
            )
        return constraints

    def _translated(self, act: Callable[[], Result], what: str) -> Result:
        import urllib3
        from tuf.api.exceptions import DownloadError
        from tuf.api.exceptions import RepositoryError as TufError

        try:
            return act()
        except (DownloadError, urllib3.exceptions.HTTPError) as error:
            refuse_unreachable(error, self._base_url)
            raise TransportError(
                "the server broke off, or does not have what its metadata lists",
                expected=what,
                got=describe_cause(error),
                where=self._base_url,
                hint="check that `ampforge serve` runs there, on the repository that was published",
            ) from error
        except TufError as error:
            raise TransportError(
                "what the server shows does not verify",
                expected="metadata and targets signed by the product's roles, and not expired",
                got=f"{type(error).__name__}: {error}"[:300],
                where=f"{self._base_url}, {what}",
                hint="run `ampforge repo status` at the repository; do not trust this server "
                "until that is explained",
            ) from error
        except (OSError, ValueError) as error:
            raise self._cannot_keep(error) from error

    def _cannot_keep(self, error: Exception) -> TransportError:
        return TransportError(
            "the gateway cannot keep what it verified",
            got=describe_cause(error),
            where=self._cache,
            hint="check the folder and the space left; a damaged cache may be removed",
        )


def _refuse_other_service(path: str) -> None:
    # The board's own words, sent from the gateway's network: not to whatever else that server has.
    if path not in BOARD_SERVICES:
        raise TransportError(
            "a board posts to something that is not for boards",
            expected=" or ".join(sorted(BOARD_SERVICES)),
            got=path,
        )


def target_path_of(device_path: str) -> str:
    """Return the TUF target that holds the same bytes as a path of the device tree.

    Raises:
        TransportError: No device asks for such a path.
    """
    name = device_path.removeprefix(DEVICE_PREFIX)
    if name == device_path or ".." in name:
        raise TransportError(
            "a board asks for something that is not for boards",
            expected=f"a path below {DEVICE_PREFIX}",
            got=device_path,
        )
    hardware_class = name.removesuffix(ASSIGNMENT_SUFFIX)
    return name if hardware_class == name else assignment_target_path(hardware_class)
