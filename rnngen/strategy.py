"""Strategy: how a CUDA network's recurrence runs, by what it is predicted to take.

`sm` keeps sequences in one multiprocessor, weights in registers and shared memory, for all steps of
a launch. `cluster` does so with 2, 4, 8 or 16 multiprocessors, each with its share of the units;
`grid` with up to all of them, where no cluster has room. `wavefront` has several layers at once,
each in a multiprocessor or cluster. `step` launches a tiled product and the cell for each step,
whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil

from rnngen.grid import GridQuads, GridTiles
from rnngen.quads import Quads
from rnngen.residence import Residence
from rnngen.targets import ARCHITECTURES
from rnngen.tiles import Tiles
from rnngen.wavefront import WavefrontQuads, WavefrontTiles

# Bytes of shared memory that a block can have.
SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "sm_120": 99 * 1024}
BLOCKS = {"sm_90": 16, "sm_100": 16, "sm_120": 8}  # of a cluster at most, where there are clusters
# Multiprocessors of an A100, of an H100 (SXM) or H200, a B200, an RTX 5080.
PROCESSORS = {"sm_80": 108, "sm_90": 132, "sm_100": 148, "sm_120": 84}
PORTABLE = 8  # blocks that every device with clusters has room for
LEVEL = 1.1  # so much better than one multiprocessor, which every device has, a cluster has to be
BETTER = 1.25  # and so much one of more blocks than those, for which a device may lack room
SOON = 1.35  # times the quickest grid for one sequence, at most, if more is done at once
ROOM = PROCESSORS["sm_80"]  # blocks of a grid for all architectures: a smaller card goes by steps
TOGETHER = 128  # sequences at a time: a way may be faster with few, but not slower with these
SPLITS = (1, 2, 4)  # warps that share 16 units in 16 bits: a lane has up to four of their cells
MANY = (1, 2, 4)  # sequences that blocks have together in float32


def choose(
    gates: int, hidden: int, wanted: tuple[str, ...], half: bool = False, directions: int = 1
) -> tuple[Residence, ...]:
    """The best way to keep weights on the chip, then ways for devices that have no room for it.

    Devices are of the architectures `wanted`. None if weights do not fit; a last one may still be
    for some devices only, see `sure`.
    """
    ways = [way for way in _ways(gates, hidden, wanted, half) if _fits(way, wanted)]
    chosen: list[Residence] = []
    while whole := [way for way in ways if not way.split]:
        usual = min(whole, key=_cost)
        best = min((way for way in ways if _may(way, usual, wanted)), key=_cost)
        chosen.append(best)
        most = 1 if best.blocks <= PORTABLE else PORTABLE
        ways = [] if sure(best, wanted) else [way for way in ways if way.blocks <= most]
    if not all(any(_has(name, way) for way in chosen) for name in wanted):
        grids = [w for w in _grids(gates, hidden, wanted, half, directions) if _fits(w, wanted)]
        soon = SOON * min((way.cycles for way in grids), default=0)
        chosen += sorted((way for way in grids if way.cycles <= soon), key=_cost)[:1]
    return tuple(chosen)


def with_wavefront(
    ways: tuple[Residence, ...], layers: int, wanted: tuple[str, ...]
) -> tuple[Residence, ...]:
    """All layers at once before the best way to have one after the other, in an sm or cluster.

    In 16 bits it is for an sm whose warps share no columns: a product of x adds up in that order.
    Instead of a cluster it has to be faster, with all weights in registers.
    """
    best = ways[0] if ways and layers > 1 else None
    all_of_them: WavefrontQuads | WavefrontTiles
    if type(best) is Quads:
        sizes = best.gates, best.hidden, best.blocks, best.parts, best.many
        layered, all_of_them = ways, WavefrontQuads(*sizes, layers=layers)
    elif type(best) is Tiles:
        each = Tiles(best.gates, best.hidden, blocks=1)
        layered = (each,)
        all_of_them = WavefrontTiles(best.gates, best.hidden, blocks=1, layers=layers)
        faster = all_of_them.cycles < layers * best.cycles
        if not (faster and _fits(each, wanted)) or (best.cluster and each.rest):
            return ways
    else:
        return ways
    enough = all_of_them.resident <= max(PROCESSORS[name] for name in wanted)
    possible = enough and all_of_them.possible and _fits(all_of_them, wanted)
    return (all_of_them, *layered) if possible else ways


def sure(way: Residence, wanted: tuple[str, ...]) -> bool:
    """Whether every device of these architectures has room for it."""
    usual = way.strategy == "sm" or (way.cluster and way.blocks <= PORTABLE)
    return usual and all(_has(name, way) for name in wanted)


def _cost(way: Residence) -> float:
    """How soon a step is over and, as much, how many sequences can be done at once."""
    more = 1 if not way.cluster else LEVEL if way.blocks <= PORTABLE else BETTER
    return way.cycles * way.each * more


def _may(way: Residence, usual: Residence, wanted: tuple[str, ...]) -> bool:
    """Whether warps that share columns are no slower, with one sequence and with `TOGETHER`, where
    there is room for them. `_cost` would also take them for fewer blocks, which are slower, and
    where nothing else finds room, which leaves no grid, which is faster.
    """
    room = [name for name in wanted if _has(name, way)] if way.split else []
    return all(
        _has(name, usual)
        and way.cycles_at(n, PROCESSORS[name]) <= usual.cycles_at(n, PROCESSORS[name])
        for name, n in product(room, (1, TOGETHER))
    )


def _fits(way: Residence, wanted: tuple[str, ...]) -> bool:
    """Whether a block has the threads, registers and shared memory, in a cluster somewhere: a
    network for several architectures asks for a cluster when it runs.
    """
    room = (any if way.cluster else all)(_has(name, way) for name in wanted)
    return way.threads <= 512 and way.words > 0 and room


def _has(architecture: str, way: Residence) -> bool:
    """Whether it has such clusters and as much shared memory."""
    clusters = not way.cluster or way.blocks <= BLOCKS.get(architecture, 1)
    return clusters and way.most_shared <= SHARED[architecture]


def _ways(gates: int, hidden: int, wanted: tuple[str, ...], half: bool) -> Iterator[Residence]:
    """All that some of the architectures have."""
    most = max(BLOCKS.get(name, 1) for name in wanted)
    for blocks in (n for n in (1, 2, 4, 8, 16) if n <= most):
        if half:
            yield from (Tiles(gates, hidden, blocks, n) for n in SPLITS)
            continue
        parts = (1, 2, 4, 8) if blocks > 1 else (1, 2, 4, 8, 16)
        many = MANY if blocks > 1 else (1,)
        yield from (Quads(gates, hidden, blocks, n, m) for n in parts for m in many if m <= n)


def _grids(
    gates: int, hidden: int, wanted: tuple[str, ...], half: bool, directions: int
) -> Iterator[GridQuads | GridTiles]:
    """In as many blocks as all devices have room for, both directions at once."""
    room = ROOM if wanted == ARCHITECTURES else min(PROCESSORS[name] for name in wanted)
    most = room // directions
    for units in (16,) if half else range(4, 66, 2):
        blocks = ceil(hidden / units)
        if not 1 < blocks <= most:
            continue
        if half:
            for splits, eights in ((4, 1), (8, 1), (8, 2), (16, 1)):
                yield GridTiles(gates, hidden, blocks, splits, directions, eights)
        elif units == 2 * ceil(hidden / blocks / 2):
            for parts, many in product((4, 8, 16, 32), MANY[1:]):
                yield GridQuads(gates, hidden, blocks, parts, many, directions)
