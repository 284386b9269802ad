"""Tiles: a 16-bit network that stays in multiprocessors, sixteen units by tensor cores at a time.

Cycles are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from rnngen.residence import MEETING, SCHEDULERS, WAITING, WARP, Residence

EXCHANGING = 6  # registers of a thread more in a cluster for each of its cells: addresses, h
LOADS = 20  # more where weights come from shared memory: those on their way


@dataclass(frozen=True)
class Tiles(Residence):
    """Eight sequences in 16 bits, by tensor cores.

    A warp has 16 units, or several share their columns and have some of their cells each. Rows of
    W_hh come in spans of 32 columns, sixteen numbers of a gate to a lane: the first `held` of a
    warp's in registers, the rest in shared memory.
    """

    splits: int = 1  # warps that share 16 units: 1, 2 or 4

    sequences = 8  # at a time
    kind = "tensor"

    @property
    def units(self) -> int:
        """Of a block, by warps."""
        return ceil(self.hidden / self.blocks / 16) * 16

    @property
    def lanes(self) -> int:
        """Threads of a block that have work."""
        return self.units // 16 * self.splits * WARP

    @property
    def warps(self) -> int:
        """Of a block."""
        return self.threads // WARP

    @property
    def sharing(self) -> str:
        """Who has which weights, for a comment."""
        if self.split:
            return f"{self.whose}{self.splits} warps to 16 units, whose columns they share by spans"
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
        warps = f"{self.splits} warps" if self.split else "a warp"
        return f"{warps} to every 16 of {self.units} units"

    @property
    def split(self) -> bool:
        """Whether warps share columns, so that they have to add up what each made."""
        return self.splits > 1

    @property
    def cells(self) -> int:
        """Of a lane: a product of tensor cores leaves four sums in each, which warps divide."""
        return 4 // self.splits

    @property
    def lane_cells(self) -> str:
        """C: how many these are."""
        return "cells" if self.split else "4"

    @property
    def lane_sequences(self) -> str:
        """C: and of how many sequences."""
        return "cells" if self.split else "2"

    @property
    def which(self) -> str:
        """C: which of these cell i is of."""
        return "i" if self.split else "i % 2"

    @property
    def sequence(self) -> str:
        """C: cell i's sequence among the eight."""
        return "place + i" if self.split else "2 * column + i % 2"

    @property
    def unit(self) -> str:
        """C: and its unit."""
        return "unit" if self.split else "first + row + i / 2 * 8"

    @property
    def x(self) -> str:
        """C: the sum of its x for gate g."""
        return "x[i][g]" if self.split else f"x[i % 2][i / 2 * {8 * self.gates} + g]"

    @property
    def place(self) -> str:
        """C: the first of a lane's sequences, where warps share columns and have cells each."""
        return "2 * column + share % 2" if self.cells == 1 else "2 * column"

    @property
    def own_half(self) -> str:
        """C: and which half of the 16 units its unit is in."""
        return "share / 2" if self.cells == 1 else "share"

    @property
    def row(self) -> str:
        """C: the sequence whose h a lane brings: its product's first column is to be its own."""
        return "(row ^ (share % 2))" if self.cells == 1 else "row"

    @property
    def spans(self) -> int:
        """Of 32 columns."""
        return ceil(self.hidden / 32)

    @property
    def group(self) -> int:
        """Threads that have 16 units."""
        return WARP * self.splits

    @property
    def own_spans(self) -> int:
        """Those of a warp."""
        return ceil(self.spans / self.splits)

    @property
    def held(self) -> int:
        """Those of them that registers hold."""
        span = 8 * self.gates
        free = self.registers - self.beside - EXCHANGING * self.cells * self.cluster
        return self.own_spans if span * self.own_spans <= free else (free - self.fetched) // span

    @property
    def words(self) -> int:
        """Registers of a thread that hold weights: two numbers each."""
        return 8 * self.gates * self.held

    @property
    def beside(self) -> int:
        """Registers beside weights, but for such as come from shared memory: sums, of a gate in a
        lane the warp's four and those of x of its own cells, now and in the next step."""
        return 40 + 2 * self.cells + (4 + min(4, 2 * self.cells)) * self.gates

    @property
    def fetched(self) -> int:
        """Registers for weights that come from shared memory: those of a span on their way."""
        return 4 + 8 * self.gates if self.split else LOADS

    def working(self, sequences: int) -> int:
        """Registers beside weights, predicted, whatever the sequences."""
        return self.beside + (self.fetched if self.rest else 0)

    @property
    def rest(self) -> int:
        """Spans in shared memory."""
        return self.own_spans - self.held

    @property
    def line(self) -> int:
        """Eights of numbers from one sequence's h to the next: an odd number of spans, so that
        sequences lie on other banks, of which no warp reads more."""
        return 4 * (self.own_spans * self.splits | 1)

    @property
    def kept(self) -> int:
        """Eights of weights in shared memory."""
        return 2 * self.gates * self.rest * self.threads

    @property
    def messages(self) -> int:
        """Eights of h that a warp has for another block: eight units of a sequence each."""
        return 4 * self.cells

    @property
    def staged(self) -> int:
        """Eights of h on their way to other blocks."""
        return self.messages * self.warps * self.cluster

    @property
    def foreign(self) -> int:
        """Sums of a gate in a lane that belong to cells of other warps."""
        return 4 - self.cells

    @property
    def partial(self) -> int:
        """Sums that warps leave for each other."""
        return self.foreign * self.gates * self.threads

    @property
    def behind(self) -> int:
        """Eights before a cluster's barriers, h apart."""
        return self.kept + self.staged

    @property
    def arriving(self) -> int:
        """Bytes of h that reach a block of a cluster in a step."""
        return 32 * self.sequences * ceil(self.hidden / 16)

    @property
    def message_to(self) -> str:
        """C: where the one that a lane sends belongs in h, in eights of numbers."""
        if not self.split:
            return "lane % 16 / 2 * line + first / 8 + lane % 2"
        which = f"lane % {self.messages}"
        return f"{f'({which} * 2 + share % 2)' if self.cells == 1 else which} * line + unit / 8"

    @property
    def staged_at(self) -> str:
        """C: where cell i's h waits for that."""
        if not self.split:
            return "(2 * column + i % 2) * 16 + row + i / 2 * 8"
        return "(cells * column + i) * 8 + row"

    @property
    def at_once(self) -> int:
        """Blocks that a warp sends to at a time: a message to a lane."""
        return WARP // self.messages

    @property
    def turns(self) -> int:
        """That a warp takes to send to all blocks."""
        return ceil(self.active / self.at_once)

    @property
    def before_sums(self) -> int:
        """Eights before the sums that warps leave for each other, h apart."""
        return self.behind + self.cluster

    @property
    def shared(self) -> int:
        """Bytes of shared memory: two h by turns, weights, in a cluster h to send and two barriers,
        sums of several warps."""
        h = 2 * self.sequences * self.line
        return 16 * (h + self.before_sums) + 4 * self.partial

    @property
    def shared_by(self) -> str:
        """What is there, for a comment."""
        weights = ", weights" if self.rest else ""
        talk = ", h to send, two barriers" if self.cluster else ""
        sums = ", sums" if self.split else ""
        return f"two h of eight sequences{weights}{talk}{sums}"

    @property
    def loads(self) -> tuple[tuple[int, int], ...]:
        """How many sequences it can have at a time, and the cycles of a step of so many."""
        return ((self.sequences, self.cycles),)

    @property
    def cycles(self) -> int:
        """Of one step, predicted: products (eight cycles for 16 columns), weights and h from shared
        memory, sums of several warps, the special functions of a lane's cells (eight cycles each,
        about ten of them), the way to other blocks."""
        warps = ceil(self.lanes / WARP)
        turns = ceil(warps / SCHEDULERS)
        products = 16 * self.gates * self.own_spans * turns
        shared = (self.kept + warps * WARP * self.own_spans) * 16 / 128
        sums = 2 * self.partial * 4 / 128 + MEETING * self.split
        cells = self.cells * 10 * 8 * turns
        sending = self.sending + 60 * self.cluster
        return round(WAITING + products + shared + sums + cells + sending)
