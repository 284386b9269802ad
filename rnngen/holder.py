"""What networks of every target do with their library and their weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from rnngen import tensors, validate, weights
from rnngen.build import Library
from rnngen.model import Model
from rnngen.outline import Outline

Array = npt.NDArray[Any]
Weights = str | Path | Mapping[str, Any]


class Holder:
    """A compiled network that holds weights under torch's names."""

    plan: Outline
    device = "cpu"  # kind of device that tensors have to be on

    def __init__(self, plan: Outline, library: Library) -> None:
        self.spec = plan.model.spec
        self.library = library
        self._params: dict[str, Array] = {}
        self._tensors = False  # whether the weights came as torch tensors

    def __repr__(self) -> str:
        return f"<rnngen {self.spec.name}: {self.plan.model.summary}, {self.spec.dtype}>"

    def load_state_dict(self, state: Weights) -> None:
        """Take weights from a state_dict of tensors or arrays, or a .safetensors or .pt file.

        Raises WeightsError, which lists all that is wrong; the old weights then stay.
        """
        self.take(*read(state, self.plan.model))

    def take(self, params: dict[str, Array], as_tensors: bool) -> None:
        """Use these weights, which `read` has checked, in calls that begin later."""
        self._params, self._tensors = params, as_tensors

    def state_dict(self) -> dict[str, Any]:
        """The weights under torch's names, copied; tensors if they came as tensors, else arrays."""
        kind = self._tensors, self.spec.dtype
        return {k: tensors.in_kind(a.copy(), *kind) for k, a in self._params.items()}

    def arrays(self) -> dict[str, Array]:
        """The weights under torch's names as arrays, not copied; empty if there are none."""
        return dict(self._params)

    def validate(self) -> validate.Report:
        """Compare with torch.nn in float64 over a grid of calls. Raises MissingError if need be."""
        return validate.report(self, self._params)

    def workspace(self, steps: int, batch: int) -> int:
        """Bytes of scratch that a call over T steps of B sequences takes."""
        return int(self.function("_workspace")(steps, batch))

    def function(self, suffix: str) -> Any:
        """A C function of the network."""
        return getattr(self.library.lib, self.spec.name + suffix)

    def _has_no_weights(self) -> RuntimeError:
        name = self.spec.name
        return RuntimeError(f"{name} has no weights yet: load_state_dict() or compile(weights=)")


def read(state: Weights, model: Model) -> tuple[dict[str, Array], bool]:
    """Checked parameters, and whether they came as tensors. Raises WeightsError."""
    as_tensors = isinstance(state, Mapping) and any(map(tensors.is_tensor, state.values()))
    return weights.load(state, model), as_tensors
