"""Strategy: how a CUDA network's recurrence runs, by what it is predicted to take.

`sm` keeps sequences in one multiprocessor, weights in registers and shared memory, for all steps of
a launch. `cluster` does so with 2, 4 or 8 multiprocessors, each with its share of the units.
`step` launches a tiled product and the cell for each step, whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rnngen.residence import Quads, Residence, Tiles

SHARED = 99 * 1024  # bytes of a block that every architecture since sm_80 has
MORE_SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024}
CLUSTERS = ("sm_90", "sm_100", "sm_120")  # architectures that have them
UNKNOWN = ("auto", "native")  # values of isa that leave open which architecture it is
ENOUGH = 1.25  # a cluster of half the blocks takes twice the sequences: worth a quarter of the time


def choose(gates: int, hidden: int, isa: str, half: bool = False) -> tuple[Residence, ...]:
    """Ways to keep weights on the chip: the best, and one for devices without clusters.

    None if they do not fit; one alone if the best needs no cluster, or `isa` says that there are.
    """
    alone, together = single(gates, hidden, isa, half), cluster(gates, hidden, isa, half)
    if alone and (not together or alone.cycles <= ENOUGH * together.cycles):
        return (alone,)
    if together:
        return (together, alone) if alone and isa in UNKNOWN else (together,)
    return ()


def single(gates: int, hidden: int, isa: str, half: bool = False) -> Residence | None:
    """The cheapest way in one multiprocessor, if there is one."""
    most = MORE_SHARED.get(isa, SHARED)
    ways = _fitting(_ways(gates, hidden, half, (1,)), most)
    return min(ways, key=lambda way: way.cycles, default=None)


def cluster(gates: int, hidden: int, isa: str, half: bool = False) -> Residence | None:
    """The fewest blocks that are about as fast as any, if some fit."""
    if isa not in UNKNOWN and isa not in CLUSTERS:
        return None
    most = MORE_SHARED[CLUSTERS[0]] if isa in UNKNOWN else MORE_SHARED.get(isa, SHARED)
    fitting = _fitting(_ways(gates, hidden, half, (2, 4, 8)), most)
    best = min((way.cycles for way in fitting), default=0.0)
    near = [way for way in fitting if way.cycles <= ENOUGH * best]
    return min(near, key=lambda way: (way.blocks, way.cycles), default=None)


def _fitting(ways: Iterable[Residence], most: int) -> list[Residence]:
    """Those that a block has threads, registers and `most` bytes of shared memory for."""
    return [way for way in ways if way.threads <= 512 and way.words > 0 and way.shared <= most]


def _ways(gates: int, hidden: int, half: bool, sizes: Iterable[int]) -> Iterator[Residence]:
    """All that there are with so many blocks to a cluster."""
    for blocks in sizes:
        if half:
            yield Tiles(gates, hidden, blocks)
        else:
            parts = (1, 2, 4, 8) if blocks > 1 else (1, 2, 4, 8, 16)
            yield from (Quads(gates, hidden, blocks, n) for n in parts)
