"""The one exception family of the project.

What belongs here: errors that a *reader* can fix. Each message is one sentence (or a list of them) that says which
file, which line, what was expected and what to do. What does not: programming errors, which stay Python's own.

They are raised where the cause is known and caught once, at the command line or at an asset's edge.
"""

from __future__ import annotations

from collections.abc import Sequence

from cherimoya_assets.printable import in_few_words


class CherimoyaAssetsError(Exception):
    """Base class of every error that the user can fix.

    Messages quote files, and end on terminals and in logs: what is not printable is replaced.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(in_few_words(message))


class ExperimentError(CherimoyaAssetsError):
    """The experiment file is not valid: unknown key, wrong type, impossible combination."""


class InputError(CherimoyaAssetsError):
    """An input file (FASTA, BED, MEME) is missing, damaged or contradicts another input."""


class ModelError(CherimoyaAssetsError):
    """A checkpoint cannot be loaded safely, or does not fit the experiment's windows."""


class DeviceError(CherimoyaAssetsError):
    """The requested device does not exist or cannot be used."""


class StorageError(CherimoyaAssetsError):
    """A stored asset is missing, damaged or not ours."""


class InstallationError(CherimoyaAssetsError):
    """The installed packages cannot work together (modisco over modisco-lite, for one)."""


class Problems(CherimoyaAssetsError):  # noqa: N818 - it is a list of errors, and reads so
    """Several problems found in one pass; `problems` lists every sentence."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(map(in_few_words, problems))
        super().__init__("\n".join(self.problems))
