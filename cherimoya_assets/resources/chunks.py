"""Chunks of a partition that is being computed, in a store of their own inside the store: `.chunks`.

What belongs here: under which key they are kept, what happens to a damaged one, when they are forgotten. What does not:
what a chunk is and what decides it (`analysis/attribution_chunks.py`), and how a value is kept whole or not at all
(`storage.py`).

    .chunks/<experiment>/<heads>/<chromosome>/<fingerprint>/

Nothing is read here that was not asked for by its fingerprint. What a run that died left behind is found again by the
next one, or is removed when the partition lands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import combinations

from cherimoya_assets.analysis.attribution_chunks import AttributionChunk
from cherimoya_assets.analysis.hashing import combined_sha256
from cherimoya_assets.errors import StorageError
from cherimoya_assets.resources.storage import AssetStore

FOLDER = ".chunks"

ATTRIBUTIONS = "attributions"
"""The asset whose chunks they are."""


class StoredChunks:
    """The chunks of one partition for some heads that are computed together; an `attribution_chunks.Chunks`.

    Args:
        store: the store of the assets.
        experiment, chrom: whose chunks they are.
        heads: those that are computed together. all_heads: those of the experiment.
        code_version: of the asset. It is a part of what a chunk is kept under.
        log: hears of a damaged chunk.
    """

    def __init__(
        self,
        store: AssetStore,
        experiment: str,
        chrom: str,
        *,
        heads: Sequence[str],
        all_heads: Sequence[str],
        code_version: str,
        log: Callable[[str], None],
    ) -> None:
        self._store = AssetStore(store.root / FOLDER)
        self._experiment, self._chrom, self._code_version, self._log = experiment, chrom, code_version, log
        self._heads, self._all_heads = tuple(heads), tuple(all_heads)
        self._key = self._key_of(self._heads)

    def get(self, fingerprint: str) -> AttributionChunk | None:
        """The chunk of this fingerprint. A damaged or foreign one is forgotten, and the log says so."""
        name = self._name(fingerprint)
        held = self._store.look(self._key, name)
        damage = held.damage
        if held.manifest is not None:
            try:
                chunk = self._store.load(self._key, name)
            except StorageError as error:
                damage = str(error)
            else:
                if isinstance(chunk, AttributionChunk) and chunk.fingerprint == fingerprint:
                    return chunk
                damage = "it was kept for something else"
        if damage:
            self._log(f"chunk {name[:12]} is damaged and is computed again: {damage}")
            self._store.remove(self._key, name)
        return None

    def put(self, chunk: AttributionChunk) -> None:
        """Keep a chunk.

        Raises:
            OSError, StorageError: it cannot be written. What was kept before stays.
        """
        self._store.commit(self._store.stage(chunk), self._key, self._name(chunk.fingerprint))

    def forget(self) -> None:
        """Remove every chunk that has one of these heads, whatever its fingerprint.

        Those of other heads alone stay: another step may be filling them at this moment.
        """
        for heads in _subsets(self._all_heads):
            if set(heads) & set(self._heads):
                self._store.remove_all(self._key_of(heads))

    def _key_of(self, heads: Sequence[str]) -> tuple[str, ...]:
        return (self._experiment, "+".join(sorted(heads)), self._chrom)

    def _name(self, fingerprint: str) -> str:
        return combined_sha256(self._code_version, fingerprint)


def forget_landed(store: AssetStore) -> list[str]:
    """Remove chunks that are older than the partitions of all their heads; returns where they were.

    A landing removes them. What is there all the same was left by a kill between the two, and is of no use any more.
    """
    chunks, removed = AssetStore(store.root / FOLDER), []
    for key, name in list(chunks.contents()):
        if len(key) != 3:
            continue  # not ours
        experiment, heads, chrom = key
        kept = chunks.written(key, name)
        landed = [store.written((experiment, head, ATTRIBUTIONS), chrom) for head in heads.split("+")]
        if kept is not None and all(time is not None and time >= kept for time in landed):
            chunks.remove(key, name)
            removed.append(str(chunks.folder(key, name)))
    return removed


def rename_chunks(store: AssetStore, was: str, now: str) -> None:
    """Bring the chunks of a renamed experiment along, unless it has some of its own."""
    with suppress(FileNotFoundError, StorageError):
        AssetStore(store.root / FOLDER).rename(was, now)


def _subsets(heads: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for size in range(1, len(heads) + 1):
        yield from combinations(heads, size)
