"""Interleaved: sets of sequences that take turns in each step, in the blocks of a grid.

The figures are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from abc import abstractmethod
from math import ceil

from rnngen.residence import MEETING, SCHEDULERS, WARP, Residence

FED = 21  # bytes from L2 that a multiprocessor gets in a cycle where all of them ask: 2800 in all
TELLING = 500  # cycles of a warp until what its block has stored is there for all
SEEING = 600  # and until others see that it is
FETCHING = 700  # that h takes from L2 into shared memory, beyond its bytes
TURNING = 8  # registers of a thread more where sets take turns
ALL = 132  # multiprocessors of an H200
SLOTS = 32  # sets that take turns, with a counter each: far more than hide each other's waiting
MOST = 256  # blocks of a launch at most, which says how much memory they talk through


class Interleaved(Residence):
    """More sets than find room at once: h of one is on its way while others are computed."""

    slots = SLOTS
    directions: int  # that are there at once

    @property
    @abstractmethod
    def together(self) -> int:
        """Sequences of a set at most."""

    @property
    def turning(self) -> int:
        """And of one that takes turns."""
        return self.together

    @property
    def resident(self) -> int:
        """Blocks that have to be there at once."""
        return self.blocks * self.directions

    @property
    def sets(self) -> int:
        """Of sequences that are there at once at most."""
        return max(1, MOST // self.resident)

    @property
    @abstractmethod
    def piece(self) -> int:
        """Numbers in 16 bytes of h."""

    @property
    def pieces(self) -> int:
        """Of 16 bytes, of one h."""
        return ceil(self.hidden / self.piece)

    @property
    def padded(self) -> int:
        """Numbers from one sequence's h to the next in memory."""
        return self.pieces * self.piece

    @property
    def piece_bytes(self) -> str:
        """C: how many bytes of piece p are numbers of h."""
        if self.padded == self.hidden:
            return "16"
        return f"min(16, ({self.hidden} - p % pieces * {self.piece}) * {16 // self.piece})"

    @property
    def counters(self) -> int:
        """Of a set that is there at once, in all directions."""
        return self.directions * self.slots

    @property
    def filled(self) -> int:
        """Pieces of 16 bytes in shared memory before what says which sets take turns."""
        return self.shared // 16

    @property
    @abstractmethod
    def busy(self) -> int:
        """Cycles of a set's turn but for h that travels, predicted."""

    @property
    @abstractmethod
    def multiplied(self) -> int:
        """And of these the ones of products."""

    @property
    def turn(self) -> int:
        """Cycles of a set's turn, predicted: h of the next comes meanwhile, and of each scheduler's
        warps one may have to tell that h is there."""
        warps = ceil(self.threads / WARP / SCHEDULERS)
        telling = max(0, TELLING - self.multiplied * (warps - 1) // warps)
        fed = 16 * self.pieces * self.turning / FED
        return round(max(self.busy + MEETING + telling, fed))

    def cycles_of_sets(self, sets: int) -> int:
        """Of a step of so many sets that take turns. Of one or two, h of the next is fetched when a
        turn is over."""
        turn = self.turn + (FETCHING + MEETING) * (sets < 3)
        return max(sets * turn, turn + TELLING + SEEING)

    def cycles_at(self, sequences: int, processors: int) -> int:
        """Of a step of so many sequences on a device, predicted."""
        room = min(max(1, processors // self.resident), self.sets)
        for each, cycles in self.loads:
            if ceil(sequences / each) <= room:
                return cycles
        return self.cycles_of_sets(ceil(ceil(sequences / self.turning) / room))

    @property
    def each(self) -> float:
        """Cycles of one multiprocessor for a step of one sequence, where there are many."""
        return self.turn * ALL / max(1, ALL // self.resident) / self.turning

    @property
    def predicted_by_turns(self) -> int:
        """Registers of a thread where sets take turns."""
        return min(self.registers, self.predicted(self.together) + TURNING)

    @property
    def interleaved(self) -> str:
        """What its kernel takes where sets take turns, for a comment."""
        return (
            f"{self.threads} threads in each of {self.resident} blocks, {self.most_shared} "
            f"bytes of shared memory, {self.predicted_by_turns} registers predicted"
        )

    @property
    def most_shared(self) -> int:
        """Bytes of shared memory where sets take turns: 3 + `turning` ints more for each."""
        return 16 * self.filled + 4 * (3 + self.turning) * self.slots
