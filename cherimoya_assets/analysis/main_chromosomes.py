"""Which sequences of a FASTA are its main chromosomes, when nobody says.

What lives here: names and lengths to a choice, with the reason for everything that is left out. What must not: reading
the FASTA (`genome.py`). Names are those of UCSC, Ensembl, RefSeq, GenBank, FlyBase, WormBase, SGD, TAIR and others; the
choice was tried on the 175 assemblies that IGV lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MOST = 150
"""More chromosomes than any genome that is worked with has: sturgeons have 60, king crabs 104."""

ORGANELLE = "mitochondria and plastids"
ALTERNATE = "alternate loci, patches and HLA"
DECOY = "decoys, viruses and spike-ins"
UNPLACED = "unplaced, unlocalized or heterochromatic"
UNNAMED = "not named as a chromosome"
SHORT = "short: less than a {} of the N50"
MANY = "one of too many of that length"

TWENTIETH, TWO_HUNDREDTH, TEN_THOUSANDTH = 20, 200, 10_000
"""Of the N50. A sequence that is not named as a chromosome must have the first (the smallest of the fly's has it); one
with the accession of a chromosome, the second, which organelles do not have in most genomes; one with a name, the last:
chr32 of galGal3 has 1,028 bp."""

WORDS = {TWENTIETH: "twentieth", TWO_HUNDREDTH: "two-hundredth", TEN_THOUSANDTH: "ten-thousandth"}

_PREFIX = r"(?:(?:.*[^a-z])?(?:chromosome|chrom|chr|group|lg)|.*(?:chr|ch|chlg))[ _.-]?"

_NUMBER = r"0*[1-9][0-9]{0,2}(?:[a-dlrspq]|_[0-9]{1,2}[ls]|=x)?"
"""1, 01, and with an arm or subgenome: 2L, 2A, 9_10L; the flour beetle's 1=X."""

_LABEL = (
    rf"(?:{_NUMBER}|(?:lge?)[0-9]{{1,3}}|[a-h][0-9]{{1,2}}|[xyzw][lrab]?[0-9]?"
    r"|(?=[ivx])x{0,3}(?:ix|iv|v?i{0,3})[ab]?)"
)

_CHROMOSOME = re.compile(rf"(?:{_PREFIX})?{_LABEL}", re.IGNORECASE)

_LETTER = re.compile(r"(?:.*chr(?:omosome)?[ _.-]?)?([a-z])", re.IGNORECASE)
"""chrR of Candida is a chromosome, ChrC of plants a chloroplast, and chrA, chrB, chrC are three chromosomes."""

_ACCESSION = re.compile(r"(?:^|\|)((?:NC_|CM)[0-9]{6,9})(?:\.[0-9]+)?(?:\||$)")
"""Of a whole chromosome: RefSeq's NC_ and GenBank's CM."""

_BY_NAME = {
    ORGANELLE: re.compile(
        r"mitochondri|chloroplast|plastid|apicoplast|kinetoplast|maxicircle|(?:^|[^a-z])api(?:[^a-z]|$)"
        r"|(?:^|[^a-z]|chr|chromosome)(?:m|mt|mit|mito|mtdna|pt|pltd|cp)$",
        re.IGNORECASE,
    ),
    ALTERNATE: re.compile(
        r"_alt$|_fix$|_hap[0-9]*$|^HLA[^a-z0-9]|^HSCHR|^CHR_(?:HS|HG|MM|MG)|_PATCH$|_CTG[0-9]", re.IGNORECASE
    ),
    DECOY: re.compile(r"decoy|^hs37d5$|EBV$|^NC_007605|phix|lambda|^2.?micron$|plasm(?:id)?[0-9]*$", re.IGNORECASE),
    UNPLACED: re.compile(
        r"random|unplaced|unlocali[sz]ed|unassigned|unmapped|unknown|(?:^|chr|_)U(?:n[0-9]*|r|extra)?(?:_|$)"
        r"|(?:^|chr)[0-9xy]+[lr]?h(?:et)?$|ch(?:r|romosome)?[_.-]?0+$",
        re.IGNORECASE,
    ),
}

_ORGANELLES = frozenset(
    {
        "NC_012920",
        "NC_001807",
        "NC_005089",
        "NC_001665",
        "NC_024511",
        "NC_001709",
        "NC_001328",
        "NC_002333",
        "NC_001224",
        "NC_001326",
        "NC_037304",
        "NC_001284",
        "NC_000932",
        "NC_011033",
        "NC_007886",
        "NC_001320",
        "NC_035963",
        "NC_007898",
        "NC_007982",
        "NC_001666",
        "NC_006839",
        "NC_006853",
        "NC_000845",
        "NC_002008",
        "NC_005943",
        "NC_001643",
    }
)
"""Of genomes whose organelles are not short beside their chromosomes, and of those that are used most."""


@dataclass(frozen=True)
class MainChromosomes:
    """The choice.

    Attributes:
        chosen: largest first.
        left_out: the other sequences in file order, by the reason.
        by_name: whether names decided; lengths alone otherwise.
    """

    chosen: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    by_name: bool

    @property
    def why_none(self) -> str:
        """Why nothing is chosen, in a sentence."""
        if many := self.left_out.get(MANY):
            total = sum(map(len, self.left_out.values()))
            return (
                f"none of its {total:,} sequences is named as a chromosome, and {len(many):,} are as long as one. "
                "Name the ones to use in `chroms`; each becomes a partition"
            )
        kinds = "; ".join(f"{chroms[0]} ({reason})" for reason, chroms in self.left_out.items())
        return f"no sequence of it is a main chromosome: {kinds}. Name the ones to use in `chroms`"


def main_chromosomes(chrom_sizes: Mapping[str, int]) -> MainChromosomes:
    """Choose by the conventions of assemblies and, where they say nothing, by length.

    Organelles, alternate loci, decoys and what is not placed are known by their names. Of the rest, those that are
    named as chromosomes (`chr1`, `2L`, `XIV`, `Chr01`, `SL2.40ch01`, `NC_000001.11`) are chosen where they hold a
    quarter of all bases and are not more than `MOST`; otherwise, whatever has a twentieth of the N50.

    Args:
        chrom_sizes: lengths in bp, in file order.

    Returns:
        The choice; nothing is chosen where too many are long and none is named.
    """
    reasons = {chrom: _by_name(chrom) for chrom in chrom_sizes}
    placed = {chrom: size for chrom, size in chrom_sizes.items() if not reasons[chrom]}
    fractions = _named(placed)
    for chrom in placed.keys() & _plastid(placed, fractions):
        reasons[chrom] = ORGANELLE
        del placed[chrom]
    n50 = _n50(placed)
    named = [chrom for chrom in placed if placed[chrom] * fractions.get(chrom, 0) >= n50 > 0]
    by_name = 0 < len(named) <= MOST and 4 * sum(placed[chrom] for chrom in named) >= sum(placed.values())
    chosen = named if by_name else [chrom for chrom, size in placed.items() if size * TWENTIETH >= n50 > 0]
    for chrom in placed.keys() - set(chosen):
        fraction = fractions.get(chrom, 0) if by_name else TWENTIETH
        reasons[chrom] = SHORT.format(WORDS[fraction]) if fraction else UNNAMED
    if len(chosen) > MOST:
        reasons |= dict.fromkeys(chosen, MANY)
        chosen = []
    left_out = {
        reason: tuple(chrom for chrom in chrom_sizes if reasons[chrom] == reason)
        for reason in dict.fromkeys(reasons[chrom] for chrom in chrom_sizes if reasons[chrom])
    }
    return MainChromosomes(tuple(sorted(chosen, key=lambda chrom: (-placed[chrom], chrom))), left_out, by_name)


def _named(chroms: Iterable[str]) -> dict[str, int]:
    """The sequences that are named as chromosomes, and the fraction of the N50 that one needs besides."""
    found = {}
    for chrom in chroms:
        # Pangenomes write sample#haplotype#chromosome.
        if _CHROMOSOME.fullmatch(chrom.rpartition("#")[2]):
            found[chrom] = TEN_THOUSANDTH
        elif _ACCESSION.search(chrom):
            found[chrom] = TWO_HUNDREDTH
        elif _LETTER.fullmatch(chrom):
            found[chrom] = TWENTIETH
    return found


def _plastid(chroms: Iterable[str], named: Mapping[str, int]) -> set[str]:
    """The one C beside numbered chromosomes."""
    letters = {chrom for chrom in chroms if named.get(chrom) == TWENTIETH}
    numbered = any(fraction == TEN_THOUSANDTH for fraction in named.values())
    return letters if numbered and [_letter(chrom) for chrom in letters] == ["C"] else set()


def _letter(chrom: str) -> str:
    match = _LETTER.fullmatch(chrom)
    return match[1].upper() if match else ""


def _by_name(chrom: str) -> str:
    accession = _ACCESSION.search(chrom)
    if accession and accession[1] in _ORGANELLES:
        return ORGANELLE
    return next((reason for reason, pattern in _BY_NAME.items() if pattern.search(chrom)), "")


def _n50(sizes: Mapping[str, int]) -> int:
    """The length at which half of all bases are in sequences that are as long or longer."""
    left = sum(sizes.values()) / 2
    for size in sorted(sizes.values(), reverse=True):
        left -= size
        if left <= 0:
            return size
    return 0
