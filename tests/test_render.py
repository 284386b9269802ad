"""What is printed: the same bytes everywhere, no more than is needed, none of the user's text."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys

import jinja2
import numpy as np
import pytest
from nets import CELLS, ROWS, from_row, net, spec, weights
from pycparser import c_ast, c_parser

import rnngen
from rnngen import render
from rnngen.errors import WeightsError
from rnngen.model import resolve
from rnngen.pack import pack
from rnngen.plan import decide

PRINT = """
import hashlib, json, sys
import rnngen
from rnngen import render
from rnngen.model import resolve
from rnngen.plan import decide
plan = decide(resolve(rnngen.load_spec(json.loads(sys.argv[1]))))
texts = render.files(plan) | render.manifest(plan) | render.package(plan)
print(json.dumps({k: hashlib.sha256(v.encode()).hexdigest() for k, v in texts.items()}))
"""


def everything(s):
    plan = decide(resolve(s))
    return render.files(plan) | render.manifest(plan) | render.package(plan)


SEEDS = [*range(6), *(pytest.param(n, marks=pytest.mark.full) for n in range(6, 20))]


@pytest.mark.parametrize("seed", SEEDS)
def test_same_bytes_anywhere(tmp_path, seed):
    """Whatever the hash seed, locale, time zone, folder and umask."""
    s = spec(num_layers=2, bidirectional=True, proj_size=2)
    folder = tmp_path / ("ä" * seed or "a")
    folder.mkdir()
    env = os.environ | {
        "PYTHONHASHSEED": str(seed * 1000),
        "LC_ALL": ["C", "C.UTF-8", "tr_TR.UTF-8"][seed % 3],
        "TZ": ["UTC", "Asia/Tokyo", "America/New_York"][seed % 3],
        "HOME": str(folder),
    }
    command = [sys.executable, "-c", PRINT, json.dumps(s.public())]
    umask = [0o022, 0o077, 0][seed % 3]
    out = subprocess.run(
        command, cwd=folder, env=env, umask=umask, capture_output=True, check=True, text=True
    )
    wanted = {k: hashlib.sha256(v.encode()).hexdigest() for k, v in everything(s).items()}
    assert json.loads(out.stdout) == wanted


def test_no_date_no_path_no_user():
    for text in everything(spec(weights="some/where.safetensors")).values():
        assert not re.search(r"/(home|root|tmp|usr|work)\b|20[0-9]{2}-|some/where", text)


@pytest.mark.parametrize("cell", CELLS)
def test_only_words_that_are_spoken(cell):
    """No activation, helper or state that the cell does not use."""
    c = rnngen.generate(spec(**CELLS[cell], hidden_size=16))["net.c"]
    for word in set(re.findall(r"static inline \w+ (\w+)\(", c)):
        defined = len(re.findall(rf"static inline \w+ {word}\(", c))
        assert len(re.findall(rf"\b{word}\(", c)) > defined, word
    assert ("vsigmoid" in c) == (cell in ("lstm", "lstm_proj", "gru"))
    assert ("vtanh" in c) == (cell in ("gru", "rnn_tanh"))
    assert ("vgated" in c) == cell.startswith("lstm")
    assert ("vrelu" in c) == (cell == "rnn_relu")
    assert ("real *c," in c) == cell.startswith("lstm")
    assert ("_project(" in c) == (cell == "lstm_proj")


def test_code_does_not_grow():
    """Neither with layers, but for a line or two each, nor with T, which nobody gave."""
    sizes = [len(rnngen.generate(spec(num_layers=n))["net.c"].splitlines()) for n in (3, 4, 5)]
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] <= 4
    one, large = (rnngen.generate(spec(hidden_size=n))["net.c"] for n in (800, 4000))
    assert len(one.splitlines()) == len(large.splitlines())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row.values())))
def test_lines_are_readable(row):
    """Up to a hundred columns, no trailing blanks, no tabs, no doubled empty lines."""
    for text in rnngen.generate(from_row("net", row)).values():
        assert not re.search(r"[ \t]\n|\t|\n\n\n|\n\n}", text)
        assert text.endswith("\n")
        assert not [line for line in text.splitlines() if len(line) > 100]


def declared(text: str) -> set[str]:
    """Names that C text declares at top level, by a parser that is not ours."""
    code = re.sub(r"(?m)^#.*$", "", re.sub(r"(?s)/\*.*?\*/", "", text))
    code = code.replace('extern "C" {', "").replace("\n}\n\n", "\n", 0)
    tree = c_parser.CParser().parse("typedef unsigned long size_t;" + code)
    names = set()
    for node in tree.ext:
        if isinstance(node, c_ast.FuncDef):
            names.add(node.decl.name)
        elif isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.Enum):
            names |= {value.name for value in node.type.values.enumerators}
        elif node.name:
            names.add(node.name)
    return names - {"size_t"}


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_header_declares_what_is_promised(bidirectional):
    """And calls with fixed arguments; nothing else, whatever is in the spec."""
    s = spec(bidirectional=bidirectional, weights="x */ int evil(void); /* .safetensors")
    names = declared(render.declarations(decide(resolve(s))))
    whole = ("", "_ragged", "_packed", "_share")
    functions = {"net_workspace", *(f"net_forward{kind}" for kind in whole)}
    functions |= set() if bidirectional else {"net_step"}
    functions |= set() if bidirectional else {"net_bound_step"}
    functions |= {f"net_bound_{kind}" for kind in ("run", "steps", "elsewhere", "job")}
    functions |= {f"net_worker_{kind}" for kind in ("offer", "settle", "serve")}
    types = {"net_weights", "net_state", "net_share", "net_bound", "net_worker"}
    assert names == functions | types | {n for n in names if re.fullmatch("NET_[A-Z_]+", n)}


def test_free_text_reaches_no_file():
    """The path of the weights, the only free text of a spec, changes no byte."""
    evil = spec(weights="a */ int evil(void){return 1;} /* ??/.safetensors")
    assert everything(evil) == everything(spec())


def test_a_typo_in_a_template_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render._env.from_string("{{ plan.nmae }}").render(plan=decide(resolve(spec())))


def test_the_manifest_counts_what_is_there(cc):
    """Sizes in the manifest are those of the compiled module."""
    s = spec(num_layers=3, proj_size=2, bidirectional=True)
    network = net(s)
    sizes = json.loads(everything(s)["manifest.json"])["sizes"]
    ffi = network.library.ffi
    assert sizes["packed_weights_bytes"] == ffi.sizeof("net_weights")
    assert sizes["state_bytes"] == ffi.sizeof("net_state")
    for steps, batch in ((1, 1), (7, 3)):
        each = steps * batch * sizes["workspace_bytes_per_step"]
        assert network.workspace(steps, batch) == sizes["workspace_bytes"] + each


def test_baked_numbers_round_trip():
    s = spec()
    text = rnngen.generate(s, weights(s))["net_weights.c"]
    numbers = [float(n[:-1]) for n in re.findall(r"-?[0-9.]+(?:e[-+][0-9]+)?f(?=,)", text)]
    packed = pack(decide(resolve(s)), weights(s))
    assert np.array(numbers, np.float32).tobytes() == (packed + 0.0).tobytes()


def test_too_many_numbers_to_bake(monkeypatch):
    monkeypatch.setattr(render, "MAX_BAKED", 10)
    with pytest.raises(WeightsError, match=r"net_weights.c: at most 10 numbers as C source; got"):
        rnngen.generate(spec(), weights(spec()))
