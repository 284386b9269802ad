"""Residence: what of a multiprocessor a network takes that stays in it, and how long a step is.

Cycles are predictions for an H200 from its instruction rates; none was measured. Registers are
predictions as well, of what nvcc takes: tests hold it to them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil

REGISTERS = 65_536  # of a multiprocessor, 32 bits each
MOST = 255  # registers of a thread
# By which a prediction may be wrong: nvcc moves loads ahead as it likes, by architecture.
SLACK = 32
SCHEDULERS = 4  # of a multiprocessor, each one instruction of a warp a cycle
WARP = 32
WAITING = 260  # cycles of each step: h is read 30, activations follow each other 170, a barrier 60
MEETING = 60  # cycles of one more barrier and of what waits for shared memory behind it
SENDING = 225  # cycles that h takes to another multiprocessor, beyond those of a barrier

# How blocks that are in no cluster hand something on, for a comment.
BY_PACKETS = "as packets, a value beside the number of its step, so that who waits sees it come"


@dataclass(frozen=True)
class Residence(ABC):
    """Sequences in one multiprocessor, the `blocks` of a cluster or those of a grid."""

    gates: int  # G
    hidden: int  # H
    blocks: int

    @property
    def strategy(self) -> str:
        return "cluster" if self.cluster else "sm"

    @property
    def name(self) -> str:
        """Of what it is made by, in C++."""
        return f"cluster{self.blocks}" if self.cluster else "sm"

    @property
    def cluster(self) -> bool:
        return self.blocks > 1

    @property
    def sending(self) -> int:
        """Cycles that h takes to other blocks, beyond those of a barrier."""
        return SENDING * self.cluster

    @property
    def shares(self) -> bool:
        """Whether blocks can have several sequences together where they else have one."""
        return False

    @property
    def split(self) -> bool:
        """Whether warps share columns, so that they have to add up what each made."""
        return False

    @property
    def packets(self) -> int:
        """Numbers that its blocks have on their way through memory, eight bytes each."""
        return 0

    @property
    def launched(self) -> str:
        """Which template prints its launches."""
        return "several" if self.shares else "resident"

    @property
    @abstractmethod
    def kind(self) -> str:
        """Which template prints the kernel."""

    @property
    def kernel(self) -> str:
        """Its name in C++, behind the network's."""
        return self.name

    @property
    @abstractmethod
    def units(self) -> int:
        """Of a block."""

    @property
    def active(self) -> int:
        """Blocks that have units."""
        return ceil(self.hidden / self.units)

    @property
    @abstractmethod
    def lanes(self) -> int:
        """Threads of a block that have work."""

    @property
    def threads(self) -> int:
        """Whole warps by fours, since registers are given out to four warps at a time."""
        return ceil(self.lanes / 128) * 128

    @property
    def registers(self) -> int:
        """Most registers that a thread may take: given out by eights."""
        return min(MOST, REGISTERS // self.threads // 8 * 8)

    @property
    @abstractmethod
    def words(self) -> int:
        """Registers of a thread that hold weights."""

    @abstractmethod
    def working(self, sequences: int) -> int:
        """Registers beside weights, for so many sequences, predicted."""

    def predicted(self, sequences: int = 1) -> int:
        """Registers of a thread for so many sequences."""
        return min(self.registers, self.words + self.working(sequences))

    @property
    @abstractmethod
    def rest(self) -> int:
        """What of a thread's weights is in shared memory, in its own measure."""

    @property
    @abstractmethod
    def shared(self) -> int:
        """Bytes of shared memory."""

    @property
    def most_shared(self) -> int:
        """Bytes of it that the largest of its kernels takes."""
        return self.shared

    @property
    def resident(self) -> int:
        """Blocks that have to be there at once."""
        return self.blocks

    @property
    def room(self) -> str:
        """What it takes of a device, for a comment."""
        where = f"each of {self.resident} blocks" if self.resident > 1 else "a block"
        return f"{self.threads} threads in {where}, {self.shared} bytes of shared memory"

    @property
    def budget(self) -> str:
        """What it takes of a thread's registers, for a comment."""
        return f"{self.words} registers of a thread hold weights, of {self.predicted()} predicted"

    @property
    @abstractmethod
    def shared_by(self) -> str:
        """What is there, for a comment."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """How it runs, for the head of the file."""

    @property
    @abstractmethod
    def cycles(self) -> int:
        """Of one step, predicted."""

    @property
    @abstractmethod
    def loads(self) -> tuple[tuple[int, int], ...]:
        """How many sequences it can have at a time, and the cycles of a step of so many."""

    def cycles_at(self, sequences: int, processors: int) -> int:
        """Of a step of so many sequences on a device, predicted: what finds no room takes turns."""
        at_once = max(1, processors // self.blocks)
        return min(ceil(ceil(sequences / n) / at_once) * cycles for n, cycles in self.loads)

    @property
    def each(self) -> float:
        """Cycles of one multiprocessor for a step of one sequence, where there are many."""
        sequences, cycles = self.loads[-1]
        return cycles * self.blocks / sequences

    @property
    def kept_in(self) -> str:
        """Where weights are, for a comment."""
        return "registers and shared memory" if self.rest else "registers"

    @property
    @abstractmethod
    def staff(self) -> str:
        """Who a block's threads are, for a comment."""

    @property
    def idle(self) -> int:
        """Threads of a block that have no work."""
        return self.threads - self.lanes

    @property
    def whose(self) -> str:
        """Who has which units, for a comment."""
        return f"{self.units} units to each of {self.blocks} blocks; " if self.blocks > 1 else ""
