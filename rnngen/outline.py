"""Outline: what the templates of every target may ask of a network, whatever its kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rnngen import __version__
from rnngen.dtypes import DType
from rnngen.model import Model
from rnngen.targets import Level, Target


@dataclass(frozen=True)
class Outline:
    """A network and the language it is printed in. Frozen: rendering cannot change its mind."""

    model: Model
    target: Target

    @property
    def name(self) -> str:
        return self.model.spec.name

    @property
    def version(self) -> str:
        return __version__

    @property
    def spec_lines(self) -> tuple[str, ...]:
        """The spec as YAML, what decides the code only."""
        return tuple(f"{k}: {_yaml(v)}" for k, v in self.model.spec.public().items())

    @property
    def dtype(self) -> DType:
        return self.model.dtype

    def speaks(self, *words: str) -> bool:
        """Whether the cell's equations use one of these activations: only then is it printed."""
        return any(word in self.model.cell.words for word in words)

    @property
    def bidirectional(self) -> bool:
        return self.model.spec.bidirectional

    @cached_property
    def output(self) -> int:
        """O, columns of `output` and of the rows between layers."""
        return self.model.spec.output_size

    @property
    def hidden(self) -> int:
        return self.model.spec.hidden_size

    @property
    def projection(self) -> bool:
        return bool(self.model.spec.proj_size)

    @property
    def layout(self) -> str:
        """Order of the first two dimensions of x and y."""
        return "[B][T]" if self.model.spec.batch_first else "[T][B]"

    @property
    def level(self) -> Level | None:
        """The only level of instructions there is, where not all processors have it."""
        return None

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels that are compiled beside the portable one, the best first."""
        return ()

    def shape(self, state: str) -> str:
        """Shape of a state in torch's layout, for a comment."""
        return f"[{len(self.model.passes)}][B][{self.state_sizes[state]}]"

    @cached_property
    def state_sizes(self) -> dict[str, int]:
        """States in order: width of h and c in one pass."""
        spec = self.model.spec
        widths = {"h": spec.state_size, "c": spec.hidden_size}
        return {name: widths[name] for name in self.model.cell.states}


def _yaml(value: bool | int | float | str | list[str]) -> str:
    """A value of a spec as its text has it."""
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
