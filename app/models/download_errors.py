"""Why a model's files could not be fetched, each with its facts and a way to mend it."""

from __future__ import annotations

from app.errors import DownloadFailed, Failure

__all__ = [
    "DiskFull",
    "DownloadBroken",
    "DownloadCanceled",
    "DownloadStalled",
    "HubOffline",
    "HubUnreachable",
    "InsufficientDisk",
    "RepoGated",
    "RepoNotFound",
    "ToldByChild",
]


class RepoNotFound(DownloadFailed):
    """The hub has no such repository, or does not show it to us."""

    code = "repo_not_found"

    def __init__(self, repo: str, endpoint: str) -> None:
        super().__init__(
            f"{endpoint} has no model {repo!r}, or it is private. Check the name; for a private one set HF_TOKEN to a token "
            "that may read it.",
            param="model",
        )


class RepoGated(DownloadFailed):
    """The repository asks for a token, or for a licence that was not accepted."""

    code = "repo_gated"

    def __init__(self, repo: str, endpoint: str, status: int) -> None:
        super().__init__(
            f"{endpoint} refused access to {repo!r} ({status}). If it is gated, accept its licence at {endpoint}/{repo}, "
            "set HF_TOKEN to a token of that account, and start again.",
            param="model",
        )


class HubUnreachable(DownloadFailed):
    """Nothing answers where the hub should be."""

    code = "hub_unreachable"

    def __init__(self, repo: str, endpoint: str, reason: str) -> None:
        super().__init__(
            f"{repo!r} could not be downloaded: {endpoint} is not reachable ({reason}). Look at network, proxy and HF_ENDPOINT."
        )


class HubOffline(DownloadFailed):
    """The user wants no downloads."""

    code = "hub_offline"

    def __init__(self, repo: str) -> None:
        super().__init__(f"{repo!r} is not downloaded, because HF_HUB_OFFLINE is set; unset it and start again.", param="model")


class InsufficientDisk(DownloadFailed):
    """The files would not fit beside what is to stay free."""

    code = "insufficient_disk"

    def __init__(self, repo: str, need_bytes: int, free_bytes: int, keep_free_bytes: int, folder: str) -> None:
        super().__init__(
            f"{repo!r} needs {need_bytes / 1e9:.1f} GB more of disk, {folder} has {free_bytes / 1e9:.1f} GB free, and "
            f"{keep_free_bytes / 1e9:.1f} GB are to stay free (MLX_LOCAL_MIN_FREE_DISK). Free some space, or choose another disk "
            "with HF_HOME.",
        )
        self.need_bytes = need_bytes
        self.free_bytes = free_bytes


class DiskFull(DownloadFailed):
    """There was room when the download began."""

    code = "disk_full"

    def __init__(self, repo: str, folder: str) -> None:
        super().__init__(f"The disk of {folder} became full while {repo!r} was downloaded. Free some space; what came is kept.")


class DownloadBroken(DownloadFailed):
    """The transfer broke off, and again each time that it was taken up."""

    code = "download_broken"

    def __init__(self, repo: str, reason: str) -> None:
        super().__init__(f"The download of {repo!r} broke off: {reason}. What came is kept; the next try goes on from there.")


class DownloadStalled(DownloadFailed):
    """The hub stopped sending, and again each time that it was asked anew."""

    code = "download_stalled"

    def __init__(self, repo: str, stall_s: float, done_bytes: int, total_bytes: int) -> None:
        super().__init__(
            f"The download of {repo!r} stood still at {done_bytes / 1e9:.2f} of {total_bytes / 1e9:.2f} GB: no byte came for "
            f"{stall_s:.0f} s (MLX_LOCAL_DOWNLOAD_STALL), again and again. What came is kept; the next try goes on from there.",
        )


class DownloadCanceled(DownloadFailed):
    """Somebody cancelled the download."""

    code = "download_canceled"

    def __init__(self, repo: str) -> None:
        super().__init__(f"The download of {repo!r} was cancelled. What came is kept; the next try goes on from there.")


class ToldByChild(DownloadFailed):
    """What went wrong in the process that fetches, as it said it itself."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, param=failure.param)
        self.failure = failure

    def as_fact(self) -> Failure:
        """Return the failure as the child told it, its code included."""
        return self.failure
