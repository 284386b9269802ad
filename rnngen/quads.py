"""Quads: a float32 network that stays in multiprocessors, four columns of W_hh at a time.

Cycles are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from rnngen.residence import SCHEDULERS, WAITING, WARP, Residence

OWN = 58  # registers of a thread beside its weights and h that are enough
LOADS = 16  # of h on their way, and all gates use each of them
SUMMING = 12  # more for each sequence beyond the first
WORKING = 68  # registers beside weights that nvcc takes: addresses, h on its way, a cell


@dataclass(frozen=True)
class Quads(Residence):
    """float32: a sequence at a time; in a cluster `many`, where clusters would have to take turns.

    `parts` lanes share a unit. Each has every `parts`-th quad (four columns) of the unit's rows of
    W_hh: the first `held` of them in registers, the rest in shared memory. Of `many` sequences each
    lane computes the cell of one, so that `parts` is a multiple.
    """

    parts: int
    many: int = 1

    sequences = 1

    @property
    def shares(self) -> bool:
        """Whether a cluster can have several sequences where it else has one."""
        return self.many > 1

    @property
    def kind(self) -> str:
        """Which template prints the kernel."""
        return "cluster" if self.cluster else "resident"

    @property
    def kernel(self) -> str:
        """Its name in C++, behind the network's."""
        return f"{self.name}<1>" if self.cluster else self.name

    @property
    def units(self) -> int:
        """Of a block; in a cluster by fours, which travel together."""
        return ceil(self.hidden / self.blocks / 4) * 4 if self.cluster else self.hidden

    @property
    def lanes(self) -> int:
        """Threads of a block that have work."""
        return self.units * self.parts

    @property
    def four(self) -> int:
        """Lanes of four units."""
        return 4 * self.parts

    @property
    def sharing(self) -> str:
        """Who has which weights, for a comment."""
        if self.parts == 1:
            return f"{self.whose}a lane to a unit, with all its rows of W_hh, by quads of columns"
        every = f"{self.parts}{'nd' if self.parts in (2, 32) else 'th'}"
        return f"{self.whose}{self.parts} lanes to a unit, each with every {every} quad of its W_hh"

    @property
    def summary(self) -> str:
        """How it runs, for the head of the file."""
        if not self.cluster:
            return (
                "a block has one sequence for all steps of the stretch, and its threads keep W_hh "
                f"in {self.kept_in}, so that no step has to read it again"
            )
        many = f", or up to {self.many} where there are more of them," if self.many > 1 else ""
        return (
            f"a cluster of {self.blocks} blocks has one sequence{many} for all steps of the "
            f"stretch; a block keeps W_hh of {self.units} units in {self.kept_in}, and sends their "
            "h to the others by messages from shared memory to shared memory"
        )

    @property
    def staff(self) -> str:
        """Who a block's threads are, for a comment."""
        lanes = "a lane" if self.parts == 1 else f"{self.parts} lanes"
        return f"{lanes} to each of {self.units} units"

    @property
    def full(self) -> bool:
        """Whether every thread of every block has a unit."""
        return self.lanes == self.threads and self.units * self.blocks == self.hidden

    @property
    def whole(self) -> bool:
        """Whether lanes read nothing but h: no zeros beyond it."""
        return 4 * self.width == self.hidden

    @property
    def last(self) -> int:
        """The last unit."""
        return self.hidden - 1

    @property
    def last_own(self) -> int:
        """The last unit of a block."""
        return self.units - 1

    @property
    def quads(self) -> int:
        """Quads of one gate in one lane."""
        return ceil(self.hidden / 4 / self.parts)

    @property
    def held(self) -> int:
        """Those of them that registers hold."""
        free = self.registers - OWN - LOADS // self.gates - SUMMING * (self.many - 1)
        return min(self.quads, free // (4 * self.gates))

    @property
    def words(self) -> int:
        """Registers of a thread that hold weights."""
        return 4 * self.gates * self.held

    def working(self, sequences: int) -> int:
        """Registers beside weights, predicted: sums and parts of them for each further sequence."""
        fetched = LOADS // self.gates if self.rest else 0
        return WORKING + fetched + 2 * self.gates * (sequences - 1)

    @property
    def budget(self) -> str:
        """What it takes of a thread's registers, for a comment."""
        more = f", {self.predicted(self.many)} with {self.many} sequences" if self.shares else ""
        return super().budget + more

    @property
    def rest(self) -> int:
        """Quads in shared memory."""
        return self.quads - self.held

    @property
    def width(self) -> int:
        """Quads of h: H of them, and zeros up to what the lanes read."""
        return self.quads * self.parts

    @property
    def kept(self) -> int:
        """Quads of weights in shared memory."""
        return self.gates * self.rest * self.lanes

    @property
    def arriving(self) -> int:
        """Bytes of one sequence's h that reach a block of a cluster in a step."""
        return 16 * ceil(self.hidden / 4)

    @property
    def two(self) -> int:
        """Bytes of two h of one sequence, read and written by turns."""
        return 2 * 16 * self.width

    @property
    def beside(self) -> int:
        """Bytes of shared memory beside h: weights, in a cluster two barriers."""
        return 16 * (self.kept + self.cluster)

    @property
    def shared(self) -> int:
        """Bytes of shared memory at most."""
        return self.two * self.many + self.beside

    @property
    def shared_by(self) -> str:
        """What is there, for a comment."""
        weights = f", {self.kept} of weights" if self.rest else ""
        return f"two h of {self.width} quads{weights}"

    @property
    def cycles(self) -> int:
        """Of one step of one sequence, predicted."""
        return self._step(1)

    @property
    def cycles_of_many(self) -> int:
        """Of one step of `many`."""
        return self._step(self.many)

    @property
    def loads(self) -> tuple[tuple[int, int], ...]:
        """How many sequences it can have at a time, and the cycles of a step of so many."""
        return (1, self.cycles), (self.many, self.cycles_of_many)

    def _products(self, sequences: int) -> int:
        """Cycles of a step's products."""
        warps = ceil(self.lanes / WARP)
        return 4 * self.gates * self.quads * sequences * ceil(warps / SCHEDULERS)

    def _step(self, sequences: int) -> int:
        """Products, weights from shared memory, sums over lanes, the special functions of a cell
        (about ten, sixteen lanes a cycle), the way to other blocks."""
        warps = ceil(self.lanes / WARP)
        shared = self.kept * 16 / 128
        sums = sequences - 1 + log2(self.parts / sequences)  # that a lane hands to another
        exchange = self.gates * sums * warps + 25 * log2(self.parts)
        cells = 10 * warps * WARP / 16
        return round(WAITING + self._products(sequences) + shared + exchange + cells + self.sending)
