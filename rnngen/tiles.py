"""Tiles: a 16-bit network that stays in multiprocessors, sixteen units by tensor cores at a time.

Cycles are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from rnngen.residence import SCHEDULERS, WAITING, WARP, Residence

TILED = (48, 8)  # registers of a thread beside its weights: in any case, and for each gate
EXCHANGING = 24  # more in a cluster: addresses in other blocks, four h
LOADS = 20  # more where weights come from shared memory: those on their way


@dataclass(frozen=True)
class Tiles(Residence):
    """Eight sequences in 16 bits, by tensor cores.

    A warp has 16 units. Its rows of W_hh come in spans of 32 columns, sixteen numbers of a gate to
    a lane: the first `held` of them in registers, the rest in shared memory.
    """

    sequences = 8  # at a time
    kind = "tensor"

    @property
    def units(self) -> int:
        """Of a block, by warps."""
        return ceil(self.hidden / self.blocks / 16) * 16

    @property
    def lanes(self) -> int:
        """Threads of a block that have work."""
        return self.units // 16 * WARP

    @property
    def warps(self) -> int:
        """Of a block."""
        return self.threads // WARP

    @property
    def sharing(self) -> str:
        """Who has which weights, for a comment."""
        return f"{self.whose}16 units to a warp, with all of their rows of W_hh"

    @property
    def summary(self) -> str:
        """How it runs, for the head of the file."""
        whose = "a block has" if not self.cluster else f"a cluster of {self.blocks} blocks has"
        sends = "; h goes to the other blocks by messages from shared memory to shared memory"
        return (
            f"{whose} eight sequences, as many as tensor cores multiply at once, for all steps of "
            f"the stretch, and its threads keep W_hh in {self.kept_in}, so that no step has to "
            f"read it again{sends if self.cluster else ''}"
        )

    @property
    def staff(self) -> str:
        """Who a block's threads are, for a comment."""
        return f"a warp to every 16 of {self.units} units"

    @property
    def spans(self) -> int:
        """Of 32 columns."""
        return ceil(self.hidden / 32)

    @property
    def held(self) -> int:
        """Those of them that registers hold."""
        span = 8 * self.gates
        free = self.registers - TILED[0] - TILED[1] * self.gates - EXCHANGING * self.cluster
        return self.spans if span * self.spans <= free else (free - LOADS) // span

    @property
    def words(self) -> int:
        """Registers of a thread that hold weights: two numbers each."""
        return 8 * self.gates * self.held

    def working(self, sequences: int) -> int:
        """Registers beside weights, predicted, whatever the sequences."""
        return TILED[0] + TILED[1] * self.gates + (LOADS if self.rest else 0)

    @property
    def rest(self) -> int:
        """Spans in shared memory."""
        return self.spans - self.held

    @property
    def line(self) -> int:
        """Eights of numbers from one sequence's h to the next: an odd number of spans, so that
        sequences lie on other banks."""
        return 4 * (self.spans | 1)

    @property
    def kept(self) -> int:
        """Eights of weights in shared memory."""
        return 2 * self.gates * self.rest * self.threads

    @property
    def staged(self) -> int:
        """Eights of h on their way to other blocks."""
        return 2 * self.sequences * self.warps * self.cluster

    @property
    def behind(self) -> int:
        """Eights before a cluster's barriers, h apart."""
        return self.kept + self.staged

    @property
    def second(self) -> int:
        """Sums of x from a unit to the eighth after it, a lane's other one."""
        return 8 * self.gates

    @property
    def arriving(self) -> int:
        """Bytes of h that reach a block of a cluster in a step."""
        return 32 * self.sequences * ceil(self.hidden / 16)

    @property
    def turns(self) -> int:
        """That a warp takes to send to all blocks: sixteen eights, so two blocks at a time."""
        return ceil(self.active / 2)

    @property
    def shared(self) -> int:
        """Bytes of shared memory: two h by turns, weights, in a cluster h to send, two barriers."""
        h = 2 * self.sequences * self.line
        return 16 * (h + self.kept + self.staged + self.cluster)

    @property
    def shared_by(self) -> str:
        """What is there, for a comment."""
        weights = ", weights" if self.rest else ""
        talk = ", h to send, two barriers" if self.cluster else ""
        return f"two h of eight sequences{weights}{talk}"

    @property
    def loads(self) -> tuple[tuple[int, int], ...]:
        """How many sequences it can have at a time, and the cycles of a step of so many."""
        return ((self.sequences, self.cycles),)

    @property
    def cycles(self) -> int:
        """Of one step, predicted: products (eight cycles for 16 columns), weights and h from shared
        memory, the special functions of four cells in a lane, the way to other blocks."""
        warps = ceil(self.lanes / WARP)
        products = 16 * self.gates * self.spans * ceil(warps / SCHEDULERS)
        shared = (self.kept + warps * WARP * self.spans) * 16 / 128
        cells = 4 * 10 * warps * WARP / 16
        return round(WAITING + products + shared + cells + self.sending + 60 * self.cluster)
