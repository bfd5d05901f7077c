"""Hugging Face repositories: only the files that are needed, through huggingface_hub and its cache."""

import re
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
REVISION = re.compile(r"\w[\w-]*([./]\w[\w-]*)*", re.ASCII)
UNREACHABLE = (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError)


class Repository:
    """A Hugging Face repository at one revision.

    After the first file all others come from the same commit, so a repository that changes meanwhile cannot be mixed.
    """

    def __init__(self, name: str, revision: str | None = None, *, offline: bool = False) -> None:
        """Name a repository; nothing is asked of the hub yet.

        Args:
          offline: only what the cache holds; for names that come out of a file and were not typed by the user.
        """
        self.name = name
        self.revision = revision
        self.offline = offline
        self._commit: str | None = None
        self._reachable = not offline

    def file(self, *names: str) -> Path:
        """Fetch the first of `names` that the repository has, from the cache or into it.

        Raises:
          FileNotFoundError: none can be had, saying why and what to do.
        """
        for name in names:
            if (path := self.find(name)) is not None:
                return path
        wanted = " or ".join(names)
        if self.offline:
            raise FileNotFoundError(
                f"{self.name} has no {wanted} in the local Hugging Face cache, and only names that you type, such as "
                f"hf-hub:{self.name}, are asked of the hub."
            )
        if constants.HF_HUB_OFFLINE:
            raise FileNotFoundError(
                f"{self.name} has no {wanted} in the local Hugging Face cache, and HF_HUB_OFFLINE is set; unset it, or "
                f"fetch the file with `hf download {self.name}` where there is a network and copy the cache here."
            )
        raise FileNotFoundError(f"the repository {self.name} has no {wanted}, or it cannot be reached from here.")

    def find(self, name: str) -> Path | None:
        """Fetch a file; None where the repository does not have it or cannot be asked.

        Raises:
          FileNotFoundError: there is no such repository or revision.
          PermissionError: it is gated or private.
        """
        if not self._reachable:
            return self.cached(name)
        try:
            path = Path(hf_hub_download(self.name, name, revision=self._commit or self.revision))
        except UNREACHABLE:
            self._reachable = False  # Asking for the next file would wait as long again.
            return None
        except EntryNotFoundError:
            return None
        except GatedRepoError as error:
            raise PermissionError(
                f"the repository {self.name} is gated; accept its terms and log in (`hf auth login`)."
            ) from error
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
            at = f" at revision {self.revision}" if self.revision else ""
            raise FileNotFoundError(
                f"there is no repository {self.name}{at}, or it is private: log in first."
            ) from error
        except HfHubHTTPError:
            return None
        return self._of_commit(path)

    def cached(self, name: str) -> Path | None:
        """Find a file that is in the cache already; never ask the network."""
        path = try_to_load_from_cache(self.name, name, revision=self._commit or self.revision)
        return self._of_commit(Path(path)) if isinstance(path, str) else None

    def _of_commit(self, path: Path) -> Path:
        if path.parent.parent.name == "snapshots":
            self._commit = path.parent.name
        return path

    @property
    def known(self) -> bool:
        """Tell whether the cache has anything of the repository; never ask the network."""
        return (Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.name, repo_type="model")).is_dir()

    @property
    def commit(self) -> str | None:
        """Return the commit that the files came from, once there was one."""
        return self._commit


def parse_repository(text: str, *, offline: bool = False) -> Repository | None:
    """Read a repository from `org/repo` or `org/repo@revision`; None where the text is neither."""
    name, _, revision = text.partition("@")
    if not REPOSITORY.fullmatch(name) or (revision and not REVISION.fullmatch(revision)):
        return None
    return Repository(name, revision or None, offline=offline)
