"""Weights: torch's names and shapes or one message with all that is wrong; no file runs code."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from nets import CELLS, data, module, net, same, spec, state, weights
from safetensors.numpy import save_file

import rnngen
from rnngen import tensors
from rnngen.errors import MissingError, WeightsError
from rnngen.model import resolve
from rnngen.weights import load

SPEC = spec()
MODEL = resolve(SPEC)


def refusal(source) -> str:
    with pytest.raises(WeightsError) as caught:
        load(source, MODEL)
    return str(caught.value)


@pytest.fixture
def params():
    return weights(SPEC)


@pytest.fixture
def path(tmp_path, params):
    save_file(params, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_file_dict_and_tensors_are_the_same(path, params, tmp_path):
    """safetensors, arrays, tensors and a torch.save file give the same parameters."""
    torch.save({k: torch.from_numpy(v) for k, v in params.items()}, tmp_path / "w.pt")
    sources = [path, str(path), params, module(SPEC).state_dict(), tmp_path / "w.pt"]
    for loaded in (load(source, MODEL) for source in sources):
        assert list(loaded) == list(MODEL.params)
        assert all(np.array_equal(loaded[name], params[name]) for name in params)


def test_parameters_that_want_gradients(params):
    """A module's own parameters, as named_parameters gives them."""
    live = dict(torch.nn.LSTM(3, 5).named_parameters())
    loaded = load(live, MODEL)
    assert np.array_equal(loaded["weight_ih_l0"], live["weight_ih_l0"].detach().numpy())


def test_all_that_is_wrong_at_once_in_torchs_words(params):
    """Missing, unknown, mis-shaped, not finite, of another kind: one message."""
    theirs = torch.nn.LSTM(3, 5)
    bad = {k: torch.from_numpy(v) for k, v in params.items()}
    del bad["weight_ih_l0"]
    bad["weight_xx_l0"] = torch.zeros(1)
    bad["bias_ih_l0"] = torch.zeros(3)
    with pytest.raises(RuntimeError) as expected:
        theirs.load_state_dict(bad)
    message = refusal(bad)
    assert message.splitlines() == str(expected.value).splitlines()
    bad["weight_hh_l0"] = bad["weight_hh_l0"].clone()
    bad["weight_hh_l0"][7, 2] = torch.nan
    bad["bias_hh_l0"] = bad["bias_hh_l0"].double()
    assert refusal(bad).splitlines() == [
        *message.splitlines()[:3],
        "\tnot finite: weight_hh_l0[7, 2] is nan.",
        message.splitlines()[3],
        "\tdtype mismatch for bias_hh_l0: float32 or narrower; got float64.",
    ]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_not_finite(params, value):
    params["bias_hh_l0"][4] = value
    assert f"not finite: bias_hh_l0[4] is {value}." in refusal(params)


WRONG = "dtype mismatch for weight_ih_l0: float32 or narrower; got "


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "weight_ih_l0: a torch tensor or a NumPy array; got NoneType"),
        ([[1.0]], "weight_ih_l0: a torch tensor or a NumPy array; got list"),
        (np.zeros((20, 3), np.int32), f"{WRONG}int32"),
        (np.zeros((20, 3), complex), f"{WRONG}complex128"),
        (np.zeros((20, 3), object), f"{WRONG}object"),
        (torch.zeros(20, 3).to(torch.float8_e5m2), "a dtype that NumPy has; got torch.float8"),
        (torch.zeros(20, 3, device="meta"), "found weight_ih_l0 tensor at meta"),
    ],
)
def test_values_of_another_kind(params, value, reason):
    assert reason in refusal(params | {"weight_ih_l0": value})


def test_narrower_is_widened(params):
    """float16 and byte-swapped float32 lose nothing."""
    half = {k: v.astype(np.float16) for k, v in params.items()}
    swapped = {k: v.astype(">f4") for k, v in params.items()}
    assert np.array_equal(load(half, MODEL)["bias_ih_l0"], half["bias_ih_l0"].astype(np.float32))
    assert np.array_equal(load(swapped, MODEL)["bias_ih_l0"], params["bias_ih_l0"])
    wide = resolve(spec(dtype="float64"))
    assert load(params, wide)["bias_ih_l0"].dtype == np.float64


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("form", ["tensors", "safetensors", "pt"])
def test_weights_of_16_bits(tmp_path, dtype, form):
    """As torch has them, for a network of their own dtype or of float32, without a bit lost."""
    own = resolve(spec(dtype=dtype, target="cuda"))
    theirs = {k: v.contiguous() for k, v in module(own.spec).state_dict().items()}
    source = theirs if form == "tensors" else tmp_path / f"w.{form}"
    if form == "pt":
        torch.save(theirs, source)
    elif form == "safetensors":
        safetensors.torch.save_file(theirs, source)
    for model in (own, MODEL):
        for name, array in load(source, model).items():
            assert array.dtype == model.dtype.array
            assert np.array_equal(array, theirs[name].float().numpy())


def test_what_16_bits_do_not_hold_is_refused(params):
    half, brain = (resolve(spec(dtype=d, target="cuda")) for d in ("float16", "bfloat16"))
    with pytest.raises(WeightsError, match="weight_ih_l0: float16 or narrower; got float32"):
        load(params, half)
    for name in params:
        params[name][:] = 0.5
    assert load(params, brain)["bias_ih_l0"][0] == 0.5
    params["bias_ih_l0"][3] = 1 + 2**-8
    with pytest.raises(WeightsError, match=r"for bias_ih_l0: bfloat16; got 1.00390625, which is"):
        load(params, brain)


@pytest.mark.parametrize("name", list(MODEL.params))
@pytest.mark.parametrize("change", ["gone", "renamed", "transposed", "longer", "doubled"])
def test_every_single_mutation_is_refused(params, name, change):
    value = params.pop(name)
    shape = (value.shape[0] + 1, *value.shape[1:])
    params |= {
        "gone": {},
        "renamed": {name + "_reverse": value},
        "transposed": {name: value.T[..., None] if value.ndim == 1 else value.T},
        "longer": {name: np.zeros(shape, np.float32)},
        "doubled": {name: value, name.upper(): value},
    }[change]
    assert name in refusal(params) or name.upper() in refusal(params)


# Files.


def test_no_such_file(tmp_path):
    assert (
        refusal(tmp_path / "w.safetensors") == f"{tmp_path}/w.safetensors: a weights file; got none"
    )
    assert refusal(tmp_path).endswith("a weights file; got a folder")
    (tmp_path / "w.npz").touch()
    assert refusal(tmp_path / "w.npz").endswith("a .safetensors or .pt file; got '.npz'")


@pytest.mark.parametrize(
    "change",
    {
        "truncated": lambda d: d[:-1],
        "truncated header": lambda d: d[:20],
        "empty": lambda _: b"",
        "header of 2^62 bytes": lambda d: struct.pack("<Q", 2**62) + d[8:],
        "header of 200 MB": lambda d: struct.pack("<Q", 200_000_000) + d[8:],
        "trailing byte": lambda d: d + b"x",
        "not JSON": lambda d: d[:8] + b"?" + d[9:],
        "text": lambda _: b"name: toy\n" * 10,
    }.items(),
    ids=lambda item: item[0],
)
def test_broken_files(path, change):
    path.write_bytes(change[1](path.read_bytes()))
    assert refusal(path).startswith(f"{path}: a safetensors file; got ")


def header(path, edit):
    """Rewrite the header of a safetensors file as text."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    text = edit(raw[8 : 8 + length].decode())
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + raw[8 + length :])


def test_a_name_twice(path):
    """The library keeps the last of two; we refuse."""
    first = json.dumps({"bias_hh_l0": {"dtype": "F32", "shape": [20], "data_offsets": [0, 80]}})
    header(path, lambda text: first[:-1] + "," + text.strip()[1:])
    assert refusal(path) == f"{path}: each name once; got bias_hh_l0 twice"


def test_a_false_shape(path):
    header(path, lambda text: text.replace("[20,3]", "[20,4]"))
    assert refusal(path).startswith(f"{path}: a safetensors file; got ")


def test_formats_that_numpy_lacks(path):
    header(path, lambda text: text.replace('"F32"', '"I32"'))
    assert "tensors of F16, BF16, F32, F64; got bias_hh_l0 I32" in refusal(path)


@pytest.mark.parametrize("change", ["twice", "format"])
def test_a_header_full_of_blanks(path, change):
    """Padding hides nothing from the checks."""
    first = json.dumps({"bias_hh_l0": {"dtype": "F32", "shape": [20], "data_offsets": [0, 80]}})

    def edit(text):
        other = text.strip()[1:]
        other = f"{first[1:-1]},{other}" if change == "twice" else other.replace("F32", "I32")
        return "{" + " " * 1_200_000 + other

    header(path, edit)
    wanted = {"twice": "got bias_hh_l0 twice", "format": "tensors of F16, BF16, F32, F64; got"}
    assert wanted[change] in refusal(path)


def test_a_file_that_may_not_be_read(path, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    assert refusal(path) == f"{path}: a file that can be read; got Permission denied"


@pytest.mark.parametrize("source", [5, b"w.pt", ["w.pt"], object()])
def test_neither_path_nor_state_dict(source):
    assert refusal(source).startswith("weights: a path or a state_dict; got ")


def test_a_path_with_a_nul():
    """Python 3.11 raises ValueError for it, later ones say that there is no such file."""
    assert "a weights file; got none" in refusal("a\0.safetensors").replace(
        "a file that can be read; got embedded null byte", "a weights file; got none"
    )


def test_metadata_is_no_tensor(tmp_path, params):
    save_file(params, tmp_path / "w.safetensors", metadata={"made": "by hand"})
    assert load(tmp_path / "w.safetensors", MODEL)


class Payload:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_payload_never_runs(tmp_path, suffix, how):
    """torch reads with weights_only=True, and there is no second try."""
    file, mark = tmp_path / f"w{suffix}", tmp_path / "ran"
    if how == "torch":
        torch.save({"weight_ih_l0": Payload(mark)}, file)
    else:
        file.write_bytes(pickle.dumps(Payload(mark)))
    assert refusal(file).startswith(f"{file}: a state_dict that torch.save wrote; got ")
    assert not mark.exists()


def test_a_torch_file_of_something_else(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "w.pt")
    assert refusal(tmp_path / "w.pt").endswith("w.pt: a state_dict; got Tensor")


def test_an_old_torch_reads_no_files(tmp_path, monkeypatch):
    torch.save({}, tmp_path / "w.pt")
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    assert refusal(tmp_path / "w.pt").endswith("torch 2.10 or later to read it; got 2.9.1")


def test_no_torch(tmp_path, monkeypatch):
    """Without torch a .pt file is refused by name, everything else works."""
    torch.save({}, tmp_path / "w.pt")
    monkeypatch.setattr(tensors.importlib, "import_module", lambda _: __import__("no_such_torch"))
    with pytest.raises(MissingError, match=r"torch: reading a .pt file needs it"):
        load(tmp_path / "w.pt", MODEL)


# Networks.


@pytest.mark.parametrize("cell", CELLS)
def test_state_dict_goes_both_ways(cc, cell):
    """Into torch and back without a bit lost."""
    s = spec(**CELLS[cell], num_layers=2, bidirectional=True)
    theirs = module(s)
    ours = rnngen.compile(s, weights=theirs.state_dict())
    other = module(s, seed=1)
    other.load_state_dict(ours.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_state_dict_is_in_kind_and_copied(cc, params):
    network = net(SPEC)
    x, h, c = data(SPEC)
    before = network(x, state(SPEC, h, c))
    taken = network.state_dict()
    assert all(isinstance(value, np.ndarray) for value in taken.values())
    for value in taken.values():
        value[...] = 0
    assert same(network(x, state(SPEC, h, c)), before)
    network.load_state_dict(module(SPEC).state_dict())
    assert all(isinstance(value, torch.Tensor) for value in network.state_dict().values())
    params["bias_ih_l0"][:] = 9  # what was given is copied too
    network.load_state_dict(params)
    params["bias_ih_l0"][:] = 0
    assert network.state_dict()["bias_ih_l0"][0] == 9


def test_refused_weights_change_nothing(cc, params):
    network = net(SPEC)
    x, h, c = data(SPEC)
    before = network(x, state(SPEC, h, c))
    del params["bias_ih_l0"]
    with pytest.raises(WeightsError):
        network.load_state_dict(params)
    assert same(network(x, state(SPEC, h, c)), before)


def test_weights_of_the_spec(cc, path):
    """Named in the spec, relative to it; weights= comes before them."""
    (path.parent / "toy.yaml").write_text(
        "name: toy\ncell: lstm\ninput_size: 3\nhidden_size: 5\nweights: w.safetensors\n"
    )
    network = rnngen.compile(path.parent / "toy.yaml")
    assert np.array_equal(network.state_dict()["bias_ih_l0"], weights(SPEC)["bias_ih_l0"])
    other = rnngen.compile(path.parent / "toy.yaml", weights=weights(SPEC, seed=1))
    assert np.array_equal(other.state_dict()["bias_ih_l0"], weights(SPEC, 1)["bias_ih_l0"])
    path.unlink()
    with pytest.raises(WeightsError, match=r"w.safetensors: a weights file; got none"):
        rnngen.compile(path.parent / "toy.yaml")
