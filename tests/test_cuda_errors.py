"""What CUDA networks refuse, and what they say when CUDA refuses: without a device.

What a device has too little of is told to the shim, which answers as CUDA would.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from emulated import both, net, plan, too_many, with_weights
from test_cuda import ALL, assert_same, noise

from rnngen import device
from rnngen.errors import DeviceError

pytestmark = pytest.mark.usefixtures("gxx")

OTHER = "a device that it was compiled for; this one is of another architecture: see isa"
SENTENCES = {
    35: "a driver as new as the compiler's CUDA; there is none, or it is older",
    98: OTHER,
    100: "a CUDA device; there is none",
    209: OTHER,
    222: "a driver that knows the PTX of this compiler; it is older",
    701: "a device with shared memory and multiprocessors for its kernels; this one has fewer",
    720: "as many multiprocessors as the device says it has; MPS or a green context leaves fewer",
}
UNKNOWN = {1: "a call that CUDA accepts", 719: "a call that CUDA accepts"}


def said(code: int) -> str:
    return f"net: {(SENTENCES | UNKNOWN)[code]}; got CUDA error {code}"


def test_every_reason_is_among_these():
    assert set(device._REASONS) == set(SENTENCES)


@pytest.mark.parametrize("call", ["_init", "_forward"])
@pytest.mark.parametrize("code", SENTENCES | UNKNOWN)
def test_what_cuda_answers_is_one_sentence(code, call, monkeypatch):
    """That says what is needed and what was got; the next call is answered."""
    network = net()
    x, real = torch.ones(2, 1, 3), network.function
    with monkeypatch.context() as patch:
        refusing = {call: lambda *args: code}
        patch.setattr(network, "function", lambda suffix: refusing.get(suffix) or real(suffix))
        with pytest.raises(DeviceError) as caught:
            network(x)
    assert str(caught.value) == said(code)
    assert_same(network(x), with_weights(network.plan)(x))


@ALL
def test_a_small_card_says_so(kind, monkeypatch):
    """It has no room for a block; what goes step by step in 16 bits shares no memory."""
    network = net(**both(kind))
    x = noise(network, 3, 2, 3)
    monkeypatch.setenv("SHIM_SHARED", "1024")
    if network.plan.step and network.plan.half:
        small = network(x)
    else:
        with pytest.raises(DeviceError) as caught:
            network(x)
        assert str(caught.value) == said(701)
        monkeypatch.delenv("SHIM_SHARED")
        small = network(x)
    monkeypatch.delenv("SHIM_SHARED", raising=False)
    assert_same(small, with_weights(network.plan)(x))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_block_has_room_to_the_byte(dtype, monkeypatch):
    """Weights in shared memory, and as much of it as they need, or less."""
    network = net(cell="gru", hidden_size=150, isa="sm_80", dtype=dtype)
    (fit,) = network.plan.residences
    assert (network.plan.ways, fit.rest > 0) == (("sm",), True)
    x = noise(network, 3, 2, 3)
    monkeypatch.setenv("SHIM_SHARED", str(fit.shared - 1))
    with pytest.raises(DeviceError) as caught:
        network(x)
    assert str(caught.value) == said(701)
    monkeypatch.setenv("SHIM_SHARED", str(fit.shared))
    assert network(x)[0].isfinite().all()


def test_a_launch_is_refused_where_fewer_multiprocessors_are_free(monkeypatch):
    """As MPS would have it: a grid that is too large for what there is, and one that is not."""
    p = plan(cell="gru", hidden_size=155, isa="sm_80")
    network = with_weights(p, too_many)
    monkeypatch.setenv("SHIM_PROCESSORS", str(p.grid.resident))
    x = noise(network, 3, 70, 3)
    for _ in range(2):
        with pytest.raises(DeviceError) as caught:
            network(x)
        assert str(caught.value) == said(720)
        assert_same(network(x[:, :1]), with_weights(p)(x[:, :1]))


def test_states_on_another_device_than_the_input(monkeypatch):
    """In torch's words; what is on another kind of device than the network's comes first."""
    network, twin = net(), torch.nn.LSTM(3, 5)
    x, here = torch.zeros(2, 1, 3), torch.zeros(1, 1, 5)
    there = here.to("meta")
    for hx in ((there, here), (here, there)):
        with pytest.raises(RuntimeError) as caught:
            network(x, hx)
        assert str(caught.value) == (
            "Input and parameter tensors are not at the same device, found hx tensor at meta and "
            "parameter tensor at cpu"
        )
    monkeypatch.setattr(network, "_read", lambda value, what, dtype=None: value)
    with pytest.raises(RuntimeError) as caught:  # as of two devices of one kind
        network(x, (there, here))
    with pytest.raises(RuntimeError) as theirs:
        twin(x, (there, here))
    assert str(caught.value) == str(theirs.value)
    assert "found input tensor at cpu and hidden tensor at meta" in str(caught.value)


class Foreign:
    """An array of another library that keeps what it is asked for."""

    def __init__(self, tensor: torch.Tensor, device: tuple[int, int]) -> None:
        self.tensor, self.device, self.asked = tensor, device, []
        self.ndim = tensor.ndim

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **asked):
        self.asked.append(asked)
        return self.tensor.__dlpack__()


@pytest.mark.parametrize(
    ("current", "passed"),
    [(0, 1), (1, 1), (2, 2), (0x7F00, 0x7F00)],
    ids=["torch's default", "legacy default", "per-thread default", "its own"],
)
def test_arrays_are_asked_for_on_the_stream_that_reads_them(current, passed, monkeypatch):
    """Of the array API standard: the consumer's stream, and 1 for the legacy default one, not 0."""
    devices = []

    def current_stream(device):
        devices.append(torch.device(device))
        return SimpleNamespace(cuda_stream=current)

    monkeypatch.setattr(torch.cuda, "current_stream", current_stream)
    network = net()
    x, h, c = (noise(network, *shape) for shape in ((4, 2, 3), (1, 2, 5), (1, 2, 5)))
    arrays = [Foreign(tensor, device=(2, 1)) for tensor in (x, h, c)]  # kDLCUDA
    assert_same(network(arrays[0], arrays[1:]), network(x, (h, c)))
    assert [[asked["stream"] for asked in array.asked] for array in arrays] == [[passed]] * 3
    assert devices == [torch.device("cuda:1")] * 3
    call = network.bind(*arrays[:1])
    call.run()
    assert arrays[0].asked[-1]["stream"] == passed
    assert_same(call.answer(), network(x))


def test_arrays_on_the_processor_have_no_stream():
    network = net(cell="gru")
    array = Foreign(noise(network, 4, 2, 3), device=(1, 0))  # kDLCPU
    assert_same(network(array), network(array.tensor))
    assert [asked.get("stream") for asked in array.asked] == [None]
