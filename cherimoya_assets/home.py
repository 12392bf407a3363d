"""Where things land: one folder for the Dagster instance, the stored assets and the caches.

What belongs here: the names of the folders below `--home`, and the file that puts the store elsewhere. What does not:
reading or writing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cherimoya_assets.errors import StorageError

HOME_NAME = "cherimoya_home"

STORAGE_FILE = "storage.yaml"
"""Says where the store is, when it is not a folder of the home: `url: s3://bucket/prefix`, and nothing else."""


@dataclass(frozen=True)
class Home:
    """The folder in which a code location keeps everything that it makes."""

    root: Path

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: dagster.yaml, run and event storage."""
        return self.root / "dagster"

    @property
    def store(self) -> Path | str:
        """Stored assets, `store/<key parts>/<partition>/`: a folder, or the URL that `storage.yaml` names.

        Raises:
            StorageError: `storage.yaml` does not say what it has to say.
        """
        return _stored_at(self.root / STORAGE_FILE) or self.root / "store"

    @property
    def cache(self) -> Path:
        """Derived from inputs and safe to delete: decompressed genomes, their indexes, file hashes."""
        return self.root / "cache"

    @property
    def turns(self) -> Path:
        """Locks that say which partitions a command is making (`resources/turns.py`)."""
        return self.root / "turns"


def default_home(experiments: Path) -> Home:
    """The home beside an experiment file, or inside a folder of experiment files."""
    experiments = experiments.resolve()
    folder = experiments if experiments.is_dir() else experiments.parent
    return Home(folder / HOME_NAME)


def _stored_at(path: Path) -> str | None:
    """The URL in `storage.yaml`, None without the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read ({error}). It holds one line: url: s3://bucket/prefix") from error
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{path}: is not YAML ({reason}). It holds one line: url: s3://bucket/prefix") from error
    if not isinstance(content, dict) or not isinstance(content.get("url"), str):
        raise StorageError(f"{path}: it must hold one line: url: s3://bucket/prefix")
    if unknown := [repr(key) for key in content if key != "url"]:
        raise StorageError(
            f"{path}: unknown key {', '.join(unknown)}; only `url` belongs here. Credentials and the endpoint come "
            "from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...) or from the files of `aws configure`."
        )
    return _checked_url(path, content["url"])


def _checked_url(path: Path, url: str) -> str:
    try:
        parts = urlsplit(url)
        named = parts.scheme and (parts.netloc or (parts.scheme == "file" and parts.path.strip("/")))
        secret = parts.username is not None or parts.password is not None
    except ValueError:
        named, secret = "", False
    if secret:
        raise StorageError(
            f"{path}: the URL holds a user name or a password. Leave them out; credentials come from the environment."
        )
    if not named or "::" in url or parts.query or parts.fragment:
        raise StorageError(f"{path}: {url!r} is not a store address. Expected: url: s3://bucket/prefix")
    return url
