"""What the commands do, as data: stages called in order, nothing printed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rnngen import conflicts, pack, package, render, run, spec, tensors, validate, weights
from rnngen.cuda import CudaPlan, decide
from rnngen.errors import DeviceError, MissingError, OutputError, SpecError, WeightsError
from rnngen.model import resolve
from rnngen.plan import Plan
from rnngen.resources import text
from rnngen.run import AnyNetwork
from rnngen.spec import Spec
from rnngen.validate import Report

EXAMPLE = """\
# yaml-language-server: $schema=rnngen.schema.json
name: {name}
cell: lstm              # lstm, gru or rnn
input_size: 40          # I
hidden_size: 64         # H

# The defaults, torch.nn's:
# num_layers: 1
# bias: true
# batch_first: false    # false: x is [T, B, I]; true: [B, T, I]
# dropout: 0.0          # acts in training only, which rnngen does not do
# bidirectional: false
# proj_size: 0          # for cell lstm
# nonlinearity: tanh    # for cell rnn: tanh or relu
# dtype: float32        # or float64; for cuda float16 or bfloat16 too
# target: c             # or cuda
# isa: auto             # or portable, avx2, avx512, native: vector instructions of x86-64
#                       # for cuda: sm_80, sm_90, sm_100, sm_120, [sm_80, sm_90], native
# weights: {name}.safetensors
"""


@dataclass(frozen=True)
class Built:
    """A package on disk, and how far it is from torch."""

    net: AnyNetwork
    files: list[Path]
    report: Report | None  # None without torch, or the device that the code is for

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes: machine code, packed weights, scratch of any call and of each step beside."""
        p = self.net.plan
        if isinstance(p, CudaPlan):
            return p.sizes
        return {
            "code_bytes": self.net.library.code_bytes,
            "weight_bytes": p.weights_size * p.dtype.bytes,
            "workspace_bytes": p.scratch * p.dtype.bytes,
            "workspace_bytes_per_step": p.buffer_row * p.dtype.bytes,
        }


def init(path: Path) -> list[Path]:
    """Write an example spec and the schema that its first line names. Overwrites no spec."""
    name = path.stem if conflicts.NAME.fullmatch(path.stem) else "toy"
    name = name if name not in conflicts.reserved_names() else "toy"
    schema, new = path.with_name("rnngen.schema.json"), path.with_name(".rnngen.schema.json")
    try:
        with path.open("x") as file:
            file.write(EXAMPLE.format(name=name))
        new.write_text(text("rnngen.schema.json"))
        os.replace(new, schema)  # replaces a link, never follows it
    except FileExistsError:
        raise OutputError(f"{path}: a new file; there is one already") from None
    except OSError as error:
        raise OutputError(f"{path}: a file that can be written; {error.strerror}") from None
    return [path, schema]


def generate(
    source: Path, out: Path | None, state: Path | None, bake: bool, target: str | None = None
) -> list[Path]:
    """Write the C of a spec and its manifest, with `bake` also the weights as a constant."""
    decided = decide(resolve(_spec(source, target)))
    files = render.files(decided) | render.manifest(decided)
    if bake:
        if isinstance(decided, CudaPlan):
            raise WeightsError("bake: target c; got cuda, whose weights are tensors on a device")
        files |= render.baked(decided, _packed(decided, state))
    return package.write(_folder(decided.model.spec, out), files)


def make(source: Path, out: Path | None, state: Path | None, target: str | None = None) -> Built:
    """Compile a spec, validate it where torch is installed, write the package."""
    net = run.network(_spec(source, target), state)
    try:
        report = _with_weights(net).validate()
    except (MissingError, DeviceError):
        report = None
    return Built(net, package.write(_folder(net.spec, out), package.texts(net), net), report)


def check(source: Path, state: Path | None, target: str | None = None) -> Report:
    """Validate a spec in both layouts."""
    first = _spec(source, target)
    twin = spec.load(first.public() | {"batch_first": not first.batch_first})
    net = _with_weights(run.network(first, state))
    other = run.network(twin, net.state_dict())
    return Report(net.validate().lines + other.validate().lines, net.plan.dtype)


def trial(source: Path, state: Path | None) -> AnyNetwork:
    """A network to time on this processor: with torch's first weights where none are given."""
    found = spec.load(source)
    if found.target != "c":
        raise SpecError(f"bench: target c, which runs on a processor; got {found.target}")
    return _with_weights(run.network(found, state))


def _spec(source: Path, target: str | None) -> Spec:
    """The spec, for another target if one is given."""
    found = spec.load(source)
    return found if target is None else spec.retarget(found, target)


def _packed(decided: Plan, state: Path | None) -> weights.Array:
    path = state or decided.model.spec.weights_path
    if path is None:
        raise WeightsError("bake: weights in the spec or with --weights; got none")
    return pack.pack(decided, weights.load(path, decided.model))


def _folder(s: Spec, out: Path | None) -> Path:
    return (Path("generated") if out is None else out) / s.name


def _with_weights(net: AnyNetwork) -> AnyNetwork:
    """The network itself if it has weights, else another one with torch's, drawn with seed 0."""
    if net.arrays():
        return net
    other = run.made(net.plan, net.library)
    other.load_state_dict(_drawn(net.spec))
    return other


def _drawn(s: Spec) -> Mapping[str, object]:
    torch = tensors.torch("validating")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state: Mapping[str, object] = validate.blank(s).state_dict()
    return state
