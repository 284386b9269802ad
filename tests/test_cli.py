"""The command line: what it prints where, exit codes, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator
from nets import spec, weights
from safetensors.numpy import save_file

import rnngen
from rnngen import __main__, jobs, package, processor, validate
from rnngen import spec as spec_module
from rnngen.errors import MissingError
from rnngen.rules import RULES

SPEC = "name: toy\ncell: gru\ninput_size: 3\nhidden_size: 5\n"


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """cli("build", "toy.yaml") -> exit code, stdout, stderr; in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "toy.yaml").write_text(SPEC)

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rnngen", *args])
        with pytest.raises(SystemExit) as caught:
            __main__.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(caught.value.code or 0), out, err

    return run


def test_help_lists_the_commands(cli):
    code, out, err = cli("--help")
    assert (code, err) == (0, "")
    for command in ["init", "generate", "build", "validate", "bench", "doctor", "schema", "rule"]:
        assert f" {command} " in out
        assert cli(command, "-h")[0] == 0


def test_version(cli):
    assert cli("--version") == (0, f"rnngen {rnngen.__version__}\n", "")


def test_module_and_script_are_the_same(cc):
    for command in (
        [sys.executable, "-m", "rnngen"],
        [str(Path(sys.executable).with_name("rnngen"))],
    ):
        out = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert out.stdout == f"rnngen {rnngen.__version__}\n"


# Specs.


def test_init(cli):
    """Every field is there, the first line names the schema, and the file is sound."""
    assert cli("init", "kws.yaml") == (0, "kws.yaml\nrnngen.schema.json\n", "")
    text = Path("kws.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=rnngen.schema.json\n")
    assert rnngen.load_spec(Path("kws.yaml")).name == "kws"
    assert all(f"{field}:" in text for field in spec_module.Spec.model_fields)
    validator = Draft7Validator(json.loads(Path("rnngen.schema.json").read_text()))
    assert validator.is_valid(yaml.safe_load(text))
    shown = [line[2:] for line in text.splitlines() if line.startswith("# ") and ": " in line][2:]
    given = yaml.safe_load(text)
    defaults = yaml.safe_load("\n".join(shown))
    del defaults["nonlinearity"]  # of another cell
    assert rnngen.load_spec(given | defaults).public() == rnngen.load_spec(given).public()
    before = Path("kws.yaml").read_text()
    code, out, err = cli("init", "kws.yaml")
    assert (code, out, err) == (2, "", "kws.yaml: a new file; there is one already\n")
    assert Path("kws.yaml").read_text() == before
    assert cli("init", "Time.yaml")[0] == cli("init", "time.yaml")[0] == 0
    assert rnngen.load_spec(Path("time.yaml")).name == "toy"
    assert cli("init", "no/such/kws.yaml")[2].startswith("no/such/kws.yaml: a file that can be")


def test_schema(cli):
    code, out, _ = cli("schema")
    assert code == 0
    assert json.loads(out) == spec_module.schema()


@pytest.mark.parametrize("code", RULES)
def test_rule(cli, code):
    """Every code explains itself."""
    exit_code, out, _ = cli("rule", code.lower())
    assert exit_code == 0
    assert out.startswith(f"{code}: {RULES[code].title}\n\n")
    assert max(map(len, out.splitlines())) <= 100


def test_rule_that_is_none(cli):
    assert cli("rule", "RNN999") == (2, "", "rule: a code from RNN001 to RNN113; got 'RNN999'\n")


@pytest.mark.parametrize("command", ["generate", "build", "validate", "bench"])
def test_a_wrong_spec(cli, command):
    """All mistakes, one per line, nothing else, exit code 2, no file written."""
    Path("bad.yaml").write_text("name: Toy\ncell: gru\ninput_size: 3\nhiden_size: 5\n")
    code, out, err = cli(command, "bad.yaml")
    assert (code, out) == (2, "")
    assert [line for line in err.splitlines() if "..." not in line] == [
        "bad.yaml:1:7: RNN105 name: [a-z][a-z0-9_]*, at most 48 characters: prefix of files and C "
        "names; got 'Toy'",
        "bad.yaml:4:1: RNN101 hiden_size: not a field of a spec; did you mean 'hidden_size'?",
    ]
    assert not Path("generated").exists()


@pytest.mark.parametrize("command", ["generate", "build", "validate", "bench"])
def test_no_spec(cli, command):
    code, _, err = cli(command, "none.yaml")
    assert code == 2
    assert "none.yaml: RNN001 a readable file; got No such file or directory" in err
    assert cli(command)[0] == 2


# generate and build.


def test_generate(cli):
    code, out, err = cli("generate", "toy.yaml")
    assert (code, err) == (0, "")
    files = ["manifest.json", "toy.c", "toy.h", "toy_avx2.c", "toy_avx512.c"]
    assert out.splitlines() == [f"generated/toy/{name}" for name in files]
    assert Path("generated/toy/toy.c").read_text() == rnngen.generate("toy.yaml")["toy.c"]
    code, out, _ = cli("generate", "toy.yaml", "--out", "there", "--json")
    assert json.loads(out) == {"files": [f"there/toy/{name}" for name in files]}
    assert cli("generate", "toy.yaml", "--quiet") == (0, "", "")


def test_generate_needs_no_compiler(cli, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert cli("generate", "toy.yaml")[0] == 0


def test_bake(cli):
    """Weights as C only where asked for, from the spec or the command line."""
    code, out, err = cli("generate", "toy.yaml", "--bake")
    assert (code, out) == (2, "")
    assert err == "bake: weights in the spec or with --weights; got none\n"
    save_file(weights(spec(cell="gru")), "w.safetensors")
    code, out, _ = cli("generate", "toy.yaml", "--bake", "--weights", "w.safetensors")
    assert code == 0
    assert "generated/toy/toy_weights.c" in out
    Path("toy.yaml").write_text(SPEC + "weights: w.safetensors\n")
    assert "generated/toy/toy_weights.h" in cli("generate", "toy.yaml", "--bake")[1]


def test_build(cli, cc):
    """A table of files, sizes and errors, then what to type next; and that works."""
    code, out, err = cli("build", "toy.yaml")
    assert (code, err) == (0, "building toy.yaml ...\n")
    for word in (
        "toy: GRU 3 -> 5, float32",
        "generated/toy/toy.c",
        "machine code ",
        "packed weights ",
        "torch",
    ):
        assert word in out
    assert "workspace" in out
    (line,) = [line for line in out.splitlines() if "PYTHONPATH" in line]
    save_file(weights(spec(cell="gru")), "weights.safetensors")
    command = line.removeprefix("Next:").replace("python -c", f"{sys.executable} -c")
    subprocess.run(command, shell=True, check=True)
    assert cli("build", "toy.yaml", "-q")[:2] == (0, "")


def test_build_as_json(cli, cc):
    code, out, _ = cli("build", "toy.yaml", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["ok"] is True
    assert 0 < result["error"] <= 6e-7
    assert result["code_bytes"] > 500
    assert result["weight_bytes"] == 4 * 8 * (4 + 3 * 3 + 5 * 3)
    assert result["workspace_bytes_per_step"] == 0
    assert all(Path(file).is_file() for file in result["files"])


def test_build_without_torch(cli, cc, monkeypatch):
    """It builds, and says what it could not measure."""

    def no_torch(*_):
        raise MissingError("torch: gone")

    monkeypatch.setattr(validate.tensors, "torch", no_torch)
    code, out, _ = cli("build", "toy.yaml")
    assert code == 0
    assert "not measured: torch is not installed" in out
    assert json.loads(cli("build", "toy.yaml", "--json")[1])["ok"] is None
    assert cli("validate", "toy.yaml")[0] == cli("bench", "toy.yaml")[0] == 2


def test_build_with_weights(cli, cc):
    save_file(weights(spec(cell="gru")), "w.safetensors")
    _, out, _ = cli("build", "toy.yaml", "--weights", "w.safetensors")
    assert "generated/toy/toy.safetensors" in out
    assert "toy.load()" in out
    save_file({"a": weights(spec())["bias_ih_l0"]}, "bad.safetensors")
    code, _, err = cli("build", "toy.yaml", "--weights", "bad.safetensors")
    assert code == 2
    assert "bad.safetensors: Error(s) in loading state_dict for GRU:\n\tMissing key(s)" in err


def test_a_folder_with_other_files(cli):
    """Nobody's work is overwritten."""
    Path("src/toy").mkdir(parents=True)
    Path("src/toy/__init__.py").write_text("mine")
    code, _, err = cli("generate", "toy.yaml", "--out", "src")
    assert code == 2
    assert err == "out: a new folder or one that rnngen wrote; src/toy holds other files\n"
    assert os.listdir("src/toy") == ["__init__.py"]


def test_links_are_not_followed(cli, tmp_path):
    """Neither for the folder nor for a file in it."""
    (tmp_path / "away").mkdir()
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "toy").symlink_to(tmp_path / "away")
    code, _, err = cli("generate", "toy.yaml")
    assert (code, err) == (2, "out: a folder; generated/toy is a link\n")
    (tmp_path / "generated" / "toy").unlink()
    assert cli("generate", "toy.yaml")[0] == 0
    (tmp_path / "generated" / "toy" / "toy.c").unlink()
    (tmp_path / "generated" / "toy" / "toy.c").symlink_to(tmp_path / "away" / "toy.c")
    assert cli("generate", "toy.yaml")[0] == 0
    assert not (tmp_path / "generated" / "toy" / "toy.c").is_symlink()
    assert os.listdir(tmp_path / "away") == []


def test_out_that_cannot_be_written(cli, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = cli("generate", "toy.yaml", "--out", "file")
    assert code == 2
    assert err == "out: a folder that can be written; Not a directory at file/toy\n"


def test_an_older_build_makes_way(cli, cc):
    """Of two builds into one folder the last remains, whole."""
    cli("build", "toy.yaml", "-q")
    Path("toy.yaml").write_text(SPEC.replace("5", "6"))
    cli("build", "toy.yaml", "-q")
    modules = list(Path("generated/toy").glob("*.so"))
    assert len(modules) == 1
    manifest = json.loads(Path("generated/toy/manifest.json").read_text())
    assert modules[0].name.startswith(manifest["module"])
    assert package.load(Path("generated/toy").resolve()).spec.hidden_size == 6
    assert not [name for name in os.listdir("generated/toy") if name.startswith(".")]


def test_nothing_of_an_older_write_stays(cli, cc):
    """Old weights under new code, or old code under new weights, would be a wrong answer."""

    def ours():
        return {re.sub("_toy_.*", "module", name) for name in os.listdir("generated/toy")}

    code = {"toy.c", "toy.h", "toy_avx2.c", "toy_avx512.c", "manifest.json"}
    python = {
        "toy_levels.h",
        "toy_bound.c",
        "toy_bound.h",
        "__init__.py",
        "setup.py",
        "pyproject.toml",
        "module",
    }
    save_file(weights(spec(cell="gru")), "w.safetensors")
    cli("build", "toy.yaml", "-q", "--weights", "w.safetensors")
    assert ours() == code | python | {"toy.safetensors"}
    cli("generate", "toy.yaml", "-q", "--bake", "--weights", "w.safetensors")
    baked = {"toy_weights.c", "toy_weights.h"}
    assert ours() == code | python | baked | {"toy.safetensors"}  # all of one network
    cli("build", "toy.yaml", "-q")
    assert ours() == code | python  # no weights given
    cli("generate", "toy.yaml", "-q", "--bake", "--weights", "w.safetensors")
    Path("toy.yaml").write_text(SPEC.replace("5", "6"))
    cli("generate", "toy.yaml", "-q")
    assert ours() == code  # another network
    cli("build", "toy.yaml", "-q")
    Path("toy.yaml").write_text(SPEC + "isa: native\n")
    cli("build", "toy.yaml", "-q")
    assert ours() == (code | python) - {"toy_avx2.c", "toy_avx512.c", "toy_levels.h"}


def test_a_write_that_was_cut_short(cli):
    """What a killed process left is cleared, not taken for somebody's work."""
    Path("generated/toy/.rnngen.abc").mkdir(parents=True)
    Path("generated/toy/.rnngen.abc/toy.c").write_text("half")
    assert cli("generate", "toy.yaml")[0] == 0
    files = ["manifest.json", "toy.c", "toy.h", "toy_avx2.c", "toy_avx512.c"]
    assert sorted(os.listdir("generated/toy")) == files


def test_a_folder_with_blanks(cli, cc):
    """What to type next can be typed."""
    _, out, _ = cli("build", "toy.yaml", "--out", "my nets")
    assert "PYTHONPATH='my nets'" in out
    assert "pip install './my nets/toy'" in out


def test_init_follows_no_link(cli, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "rnngen.schema.json").symlink_to(tmp_path / "precious")
    assert cli("init", "new.yaml")[0] == 0
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "rnngen.schema.json").is_symlink()


# validate, bench, doctor.


def test_validate(cli, cc):
    """Both layouts, ragged and not, states given and not; the verdict last."""
    code, out, err = cli("validate", "toy.yaml")
    assert (code, err) == (0, "validating toy.yaml ...\n")
    assert out.count("batch first") == out.count("time first") == 36
    assert out.count("ragged") == 24
    assert out.splitlines()[-1].startswith("ok: 72 calls against torch.nn in float64")
    code, out, _ = cli("validate", "toy.yaml", "--quiet")
    assert code == 0
    assert out.count("\n") == 1
    result = json.loads(cli("validate", "toy.yaml", "--json")[1])
    assert result["ok"]
    assert len(result["lines"]) == 72
    assert 0 < max(line["error"] for line in result["lines"]) <= result["limit"]
    assert {"steps", "batch", "ragged", "states", "batch_first", "ok"} <= set(result["lines"][0])


def test_validate_fails(cli, cc, monkeypatch):
    """A network that is off exits with 1 and says which calls."""
    own = validate.reference

    def wrong(s, params, dtype):
        return own(s, {k: v * 1.001 for k, v in params.items()}, dtype)

    monkeypatch.setattr(validate, "reference", wrong)
    code, out, _ = cli("validate", "toy.yaml")
    assert code == 1
    assert out.splitlines()[-1].startswith("FAILED: 72 calls")
    assert "FAILED" in out.splitlines()[3]
    assert cli("build", "toy.yaml")[0] == 1


def test_bench(cli, cc, monkeypatch):
    from rnngen import bench, machine, peers

    monkeypatch.setattr(bench, "SAMPLE", 1000)
    monkeypatch.setattr(machine, "known", lambda: None)
    monkeypatch.setattr(peers, "RUNTIMES", {})
    before = os.sched_getaffinity(0)
    code, out, err = cli("bench", "toy.yaml")
    assert (code, err) == (0, "timing toy.yaml ...\n")
    assert "1 thread, pinned" in out
    assert len([line for line in out.splitlines() if line.rstrip().endswith("x")]) == 4
    rows = json.loads(cli("bench", "toy.yaml", "--json")[1])
    assert [(row["steps"], row["batch"]) for row in rows] == [(1, 1), (100, 1), (1, 8), (100, 8)]
    assert all(row["own"] > 0 and row["ratio"] > 0 for row in rows)
    assert os.sched_getaffinity(0) == before


def test_bench_times_no_wrong_answer(cli, cc, monkeypatch):
    from rnngen.validate import Report

    monkeypatch.setattr(Report, "holds", lambda *_: False)
    code, out, err = cli("bench", "toy.yaml")
    assert (code, out) == (2, "")
    assert "bench: an error of at most" in err


def test_doctor(cli, cc, monkeypatch):
    code, out, _ = cli("doctor")
    assert code == 0
    for name in ("python", "compiler", "Python.h", "vectors", "cache", "torch"):
        assert name in out
    assert f"isa auto picks {processor.best()}" in out
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    code, out, _ = cli("doctor", "--json")
    assert code == 1
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert not found["compiler"]["ok"]
    assert "found none" in found["compiler"]["detail"]


def test_doctor_measures(cli, cc, own_cache, monkeypatch):
    """When asked to; afterwards it knows."""
    from rnngen import machine

    monkeypatch.setattr(machine, "SECONDS", 0.01)
    code, out, err = cli("doctor")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "one core  none  not measured: rnngen doctor --measure"
    code, out, err = cli("doctor", "--measure")
    assert (code, err) == (0, "measuring one core ...\n")
    lines = re.split(r"one core +ok +", out)[1].splitlines()
    assert re.fullmatch(r"[\d,.]+ GFLOP/s float32", lines[0])
    assert re.fullmatch(r" +[\d,.]+ GFLOP/s float64", lines[1])
    assert re.fullmatch(r" +[\d,.]+ GB/s reading 16 KiB", lines[2])
    assert re.fullmatch(r" +[\d,.]+ GB/s reading 65,536 KiB", lines[-1])
    assert len(lines) == 2 + len(machine.SIZES)
    assert cli("doctor")[1] == out
    found = json.loads(cli("doctor", "--json")[1])[-1]
    assert found["name"] == "one core"
    assert found["figures"]["flops"] == machine.known().flops
    assert len(found["figures"]["bandwidth"]) == len(machine.SIZES)


def test_doctor_cannot_measure(cli, monkeypatch, own_cache):
    """What was asked for is missed; what was not is a remark."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    for words, needed in ((["--measure"], True), ([], False)):
        code, out, _ = cli("doctor", "--json", *words)
        found = json.loads(out)[-1]
        assert code == 1
        assert (found["name"], found["ok"], found["needed"]) == ("one core", False, needed)
        assert "found none" in found["detail"]


def test_doctor_tries_the_cache(cli, monkeypatch):
    from rnngen import doctor

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", full)
    code, out, _ = cli("doctor")
    assert code == 1
    assert "No space left on device" in out


# Manners.


def test_no_compiler(cli, monkeypatch, own_cache):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    code, out, err = cli("build", "toy.yaml", "-q")
    assert (code, out) == (2, "")
    assert err.startswith("compiler: a C compiler on PATH; found none")
    assert not Path("generated").exists()


def test_results_and_progress_are_apart(cc, tmp_path):
    """stdout is for results, stderr for people; colour only on a terminal, never with NO_COLOR."""
    (tmp_path / "toy.yaml").write_text(SPEC)
    command = [sys.executable, "-m", "rnngen", "build", "toy.yaml"]
    for env in ({}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}):
        out = subprocess.run(
            command, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, check=True
        )
        assert "building" not in out.stdout
        assert "\x1b[3" not in out.stdout + out.stderr


def test_a_bug_is_a_message_too(cli, monkeypatch):
    """What nobody foresaw: one line, no traceback, unless asked for."""

    def broken(*_):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(jobs, "generate", broken)
    code, out, err = cli("generate", "toy.yaml")
    assert (code, out) == (2, "")
    assert err == "ZeroDivisionError: by zero\nThis is a bug in rnngen; --debug shows where.\n"
    for place in (["--debug", "generate", "toy.yaml"], ["generate", "toy.yaml", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["rnngen", *place])
        with pytest.raises(ZeroDivisionError):
            __main__.main()


def test_a_closed_pipe():
    """`rnngen schema | head -1` ends quietly."""
    command = f"{sys.executable} -m rnngen schema | head -1"
    out = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert out.stdout == "{\n"
    assert out.stderr == ""


OPERATIONS = {
    "mkdtemp": package.tempfile,
    "replace": package.os,
    "copyfile": package.shutil,
    **dict.fromkeys(("write_text", "mkdir", "chmod", "iterdir"), Path),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_file_operation_may_fail(cli, cc, monkeypatch, name):
    """Whatever of it fails while writing a folder: one message, no half-written file."""
    save_file(weights(spec(cell="gru")), "w.safetensors")
    command = ("build", "toy.yaml", "-q", "--weights", "w.safetensors")
    cli("build", "toy.yaml", "-q", "--out", "warm")  # what is compiled is in the cache
    real = getattr(OPERATIONS[name], name)

    def broken(*args, **kwargs):
        if "generated" in str(args):
            raise OSError(28, "No space left on device", str(args[0]) if args else None)
        return real(*args, **kwargs)

    def broken_everywhere(*args, **kwargs):
        raise OSError(28, "No space left on device", None)

    monkeypatch.setattr(OPERATIONS[name], name, broken_everywhere if name == "mkdtemp" else broken)
    code, out, err = cli(*command)
    monkeypatch.setattr(OPERATIONS[name], name, real)
    assert (code, out) == (2, "")
    assert err.startswith("out: a folder that can be written; No space left on device at ")
    assert not Path("generated/toy").exists() or os.listdir("generated/toy") == []
    assert cli(*command)[0] == 0


def test_a_disk_too_small_for_the_weights(cli, cc, monkeypatch):
    """safetensors has an error of its own for it."""
    import safetensors.numpy

    def full(*_):
        raise safetensors.SafetensorError("No space left on device")

    save_file(weights(spec(cell="gru")), "w.safetensors")
    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    code, _, err = cli("build", "toy.yaml", "-q", "--weights", "w.safetensors")
    assert code == 2
    assert err.startswith("out: a folder that can be written; No space left on device at ")


def test_the_cache_says_its_name(cli, own_cache, cc):
    own_cache.mkdir(parents=True)
    own_cache.chmod(0o777)
    code, _, err = cli("build", "toy.yaml", "-q")
    assert code == 2
    assert err == f"cache: a folder that only you can write; {own_cache} has mode 0777\n"


def test_generate_cuda(cli, tmp_path):
    """The target of the command line counts, and what the spec says of C's processors does not."""
    Path("toy.yaml").write_text(Path("toy.yaml").read_text() + "isa: avx2\n")
    code, out, err = cli("generate", "toy.yaml", "--target", "cuda")
    assert (code, err) == (0, "")
    names = {Path(line).name for line in out.splitlines()}
    assert names == {"toy.cu", "toy.h", "manifest.json"}
    assert json.loads(Path("generated/toy/manifest.json").read_text())["spec"]["isa"] == "auto"
    assert cli("generate", "toy.yaml", "--target", "cuda", "--bake")[2] == (
        "bake: target c; got cuda, whose weights are tensors on a device\n"
    )
    assert "target: c or cuda; got 'hip'" in cli("generate", "toy.yaml", "--target", "hip")[2]


def test_build_cuda(cli, nvcc):
    """Without a device it is compiled and not measured; validate and bench say what they need."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    Path("toy.yaml").write_text(Path("toy.yaml").read_text() + "target: cuda\nisa: sm_90\n")
    code, out, _ = cli("build", "toy.yaml")
    assert code == 0
    assert "not measured: torch or a CUDA device is not installed" in out
    assert "pip install" not in out
    assert json.loads(cli("build", "toy.yaml", "--json")[1])["ok"] is None
    code, out, err = cli("validate", "toy.yaml")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("toy: a driver as new as the compiler's CUDA")
    code, out, err = cli("bench", "toy.yaml")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == "bench: target c, which runs on a processor; got cuda"
    # Back to C: nothing of CUDA stays.
    assert cli("generate", "toy.yaml", "--target", "c")[0] == 0
    assert not [path for path in Path("generated/toy").iterdir() if path.suffix in (".cu", ".so")]
