"""Benchmarks: nothing wrong is counted, the results are complete, the pictures are drawn."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
RUNTIMES = [
    *("rnngen", "torch", "onnxruntime", "openvino", "mnn"),
    pytest.param("torch-compile", marks=pytest.mark.full),
]

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("cc")


@pytest.fixture(scope="module")
def modules():
    """The benchmarks' modules; they are scripts, which find each other in their own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        names = ("cases", "cpu", "flash", "host", "peers", "results", "worker")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def measured(modules, tmp_path_factory):
    """The results of a quick run: rnngen, torch, one that is wrong, one that is not here."""

    class Wrong(modules.peers.Torch):
        """Off by a little more than is allowed."""

        def result(self):
            return [array + 2e-4 for array in super().result()]

    class Absent(modules.peers.Torch):
        needs = ("no_such_package",)

    case, folder = modules.cases.Case, tmp_path_factory.mktemp("benchmarks")
    ragged = [case("lstm", 4, 3, 20, 1, True, form) for form in ("full", "lengths", "packed")]
    grid = [case("lstm", 4, 1, 100), case("gru", 4, 2, 100), *ragged]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(modules.peers.PEERS, "wrong", Wrong)
        patch.setitem(modules.peers.PEERS, "absent", Absent)
        patch.setattr(modules.cases, "quick", lambda: grid)
        patch.setattr(modules.cpu, "QUICK", modules.cpu.Effort(1, 0.0, 0.0))
        patch.setattr(modules.cpu, "Remote", lambda name, _: modules.worker.Local(name))
        patch.setattr(modules.cpu, "pin", lambda: 0)
        patch.setattr(modules.cpu, "find_spec", lambda _: None)  # no pictures
        patch.setattr(modules.host, "limits", lambda: None)
        modules.cpu.main(["--quick", "--out", str(folder), "--peers", "torch,wrong,absent"])
    return json.loads((folder / "cpu.json").read_text())


def test_results_are_complete(measured):
    """What was measured, where, and how long each took."""
    assert measured["absent"] == ["absent"]
    assert measured["versions"].keys() >= {"python", "rnngen", "numpy", "torch"}
    assert measured["machine"].keys() >= {"cpu", "cores", "caches", "mhz", "system", "compiler"}
    assert [c["form"] for c in measured["cells"]] == ["full", "full", "full", "lengths", "packed"]
    for cell in measured["cells"]:
        own = cell["results"]["rnngen"]
        assert own["status"] == "ok", own
        assert 0 < own["min_s"] <= own["median_s"]
        assert own["error"] <= own["limit"]
    assert [network["hidden_size"] for network in measured["compile"]] == [4, 4, 4]
    assert measured["ragged"][0]["costs"].keys() == {"rnngen", "torch"}


def test_results_name_no_machine(measured):
    """No host name and no path."""
    text = json.dumps(measured)
    assert not re.search(r"(/[\w.+-]+){2,}", text)
    assert not platform.node() or platform.node() not in text


def test_a_wrong_peer_is_not_counted(modules, measured):
    """It is reported, without a time, and is nobody's rival."""
    for cell in measured["cells"][:3]:
        wrong = cell["results"]["wrong"]
        assert wrong["status"] == "wrong"
        assert "median_s" not in wrong
        assert modules.results.best_peer(cell)[0] == "torch"
        assert modules.results.speedup(cell) > 0
    assert "wrong" not in measured["ragged"][0]["costs"]


def test_nan_is_wrong(modules):
    answer = modules.cpu.verdict(modules.worker.Loaded("ok", error=float("nan")), 1.0)
    assert (answer["status"], answer["error"]) == ("wrong", None)


def test_a_failure_names_no_path(modules):
    told = modules.worker.told(OSError("/some/where/lib.so: cannot open\n  twice"))
    assert told == "OSError: ...: cannot open twice"


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtimes_agree_with_torch(name, modules, tool, tmp_path):
    """Each in its process, over all that is compared; what it cannot do it says."""
    if name == "torch-compile":
        tool("g++")
    if not modules.peers.installed(name):
        pytest.skip(f"no {name} here")
    case, path = modules.cases.Case, tmp_path / "truth.npz"
    bench = modules.worker.Remote(name, {})
    for asked in (case("lstm", 8, 2, 5), case("gru", 8, 2, 1), case("lstm", 8, 2, 5, 2, True)):
        modules.cpu.truth(asked, path)
        loaded = bench.load(asked, path)
        if loaded.status != "unsupported":
            assert (loaded.status, loaded.why) == ("ok", "")
            assert loaded.error < 1e-6
            assert bench.sample(1, 2) > 0
    bench.close()


def test_a_dead_process_is_a_failure(modules, tmp_path):
    bench = modules.worker.Remote("no such runtime", {})
    loaded = bench.load(modules.cases.Case("lstm", 1, 1, 1), tmp_path / "truth.npz")
    assert (loaded.status, loaded.why) == ("failed", "the process died")
    assert bench.process is None


@pytest.fixture
def flashrnn(monkeypatch):
    """A package of that name."""
    monkeypatch.setitem(sys.modules, "flashrnn", importlib.import_module("standin"))


def test_flashrnn_may_be_missing(modules, flashrnn, monkeypatch):
    assert modules.flash.installed()
    monkeypatch.setitem(sys.modules, "flashrnn", None)
    assert not modules.flash.installed()


def recurrent(cell, **more):
    """A network of torch in float64, x and states."""
    net = getattr(torch.nn, cell)(6, 6, **more).double().requires_grad_(False)
    x, *hx = (torch.randn(n, 3, 6, dtype=torch.float64) for n in (5, 1, 1))
    return net, x, tuple(hx) if cell == "LSTM" else hx[0]


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_flashrnn_computes_what_torch_does(cell, modules, flashrnn):
    """Weights, rows and states reach it in its order, and come back in torch's."""
    net, x, hx = recurrent(cell)
    call = modules.flash.Call(net, x, hx)
    for _ in range(2):
        call.run()
        torch.testing.assert_close(call.answer(), net(x, hx), rtol=0, atol=1e-14)
        x.neg_()


def test_flashrnn_says_what_it_has_not(modules, flashrnn):
    net, x, hx = recurrent("GRU")
    packed = torch.nn.utils.rnn.pack_sequence([x[:, 0]])
    with pytest.raises(modules.peers.UnsupportedError, match="no packed sequences"):
        modules.flash.Call(net, packed, hx)
    for more in ({"num_layers": 2}, {"bidirectional": True}):
        net, x, hx = recurrent("LSTM", **more)
        with pytest.raises(modules.peers.UnsupportedError, match="single layers"):
            modules.flash.Call(net, x, hx)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what matplotlib itself uses
def test_pictures_are_drawn_the_same_each_time(modules, tmp_path):
    """From the committed results, with a wrong answer in them and without a roofline."""
    pytest.importorskip("matplotlib")
    plot = importlib.import_module("plot")
    document = json.loads((ROOT / "benchmarks" / "results" / "cpu.json").read_text())
    document["cells"][0]["results"]["rnngen"] = {"status": "wrong"}
    for cell in document["cells"][1:]:
        cell["floor_s"] = None
    drawn = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        plot.draw(document, folder)
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert drawn[0] == drawn[1]
    names = {f"cpu-{n}.{s}" for n in ("speedup", "roofline", "steps") for s in ("svg", "png")}
    assert set(drawn[0]) == names


def test_compilers(modules, monkeypatch):
    """Two modules of a network, by whom it was made."""
    shapes = importlib.import_module("shapes")
    if not (shutil.which("gcc") and shutil.which("clang")):
        pytest.skip("no gcc or no clang here")
    made = []
    compiled = shapes.network
    monkeypatch.setattr(
        shapes, "network", lambda fields: made.append(os.environ["CC"]) or compiled(fields)
    )
    monkeypatch.setattr(shapes, "SHAPES", ((2, 1),))
    monkeypatch.setattr(shapes, "SIZES", (4,))
    monkeypatch.setattr(shapes.bench, "medians", lambda calls: {"own": 3e-6, "other": 2e-6})
    lines = list(shapes.compilers())
    assert made == ["gcc", "clang"] * 2
    assert [line["network"]["cell"] for line in lines] == ["lstm", "gru"]
    assert all(line["ratio"] == 1.5 for line in lines)


def test_shapes(modules, monkeypatch, tmp_path):
    """Ratios by work: of two networks as fast, the one with less to do is the worse."""
    shapes = importlib.import_module("shapes")
    small, large = shapes.sized(2, 4), shapes.sized(4, 4)
    monkeypatch.setattr(shapes, "SHAPES", ((2, 1),))
    monkeypatch.setattr(shapes, "pairs", lambda: iter([shapes.Pair("series", small, large)]))
    monkeypatch.setattr(shapes, "shared", lambda: iter([]))
    monkeypatch.setattr(shapes, "compilers", lambda: iter([]))
    monkeypatch.setattr(shapes.bench, "medians", lambda calls: dict.fromkeys(calls, 1e-6))
    monkeypatch.setattr("sys.argv", ["shapes.py", "--out", str(tmp_path)])
    shapes.main()
    line, *plain = json.loads((tmp_path / "shapes.json").read_text())["lines"]
    assert len(plain) == 4
    assert all(other["series"].startswith("plain call with") for other in plain)
    weights = [4 * 4 * (inputs + 4) + 2 * 4 * 4 for inputs in (2, 4)]
    assert line == {
        "series": "series",
        "network": small,
        "own_s": 1e-6,
        "other_s": 1e-6,
        "steps": 2,
        "batch": 1,
        "ratio": round(weights[1] / weights[0], 3),
    }
