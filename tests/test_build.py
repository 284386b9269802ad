"""Compiling and caching: one clear message for each mishap, nothing left, never stale code."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from nets import data, net, same, spec, state, weights

import rnngen
from rnngen import build, cache, compiler
from rnngen.errors import BuildError
from rnngen.model import resolve
from rnngen.plan import decide

pytestmark = pytest.mark.usefixtures("cc")

SCRIPT = """
import numpy as np, rnngen
spec = {"name": "net", "cell": "gru", "input_size": 3, "hidden_size": 5, "isa": "native"}
net = rnngen.compile(spec)
net.load_state_dict({k: np.full(s, 0.1, np.float32) for k, s in net.plan.model.params.items()})
print(float(net(np.ones((4, 2, 3), np.float32))[0].sum()))
"""


@pytest.fixture(scope="module")
def answer(cc):
    """What the script prints where nothing goes wrong."""
    return python().stdout


def python(**env) -> subprocess.CompletedProcess:
    """The script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(s=None) -> str:
    with pytest.raises(BuildError) as caught:
        rnngen.compile(s or spec())
    return str(caught.value)


def left(root: Path) -> list[str]:
    """What lies in a cache folder, but for locks."""
    return sorted(p.name for p in root.glob("*") if p.suffix != ".lock") if root.exists() else []


def fake(folder: Path, body: str) -> str:
    """A compiler that does what a shell script says."""
    path = folder / "fakecc"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


# The compiler.


def test_no_compiler(monkeypatch, own_cache):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    message = refusal()
    assert message == (
        "compiler: a C compiler on PATH; found none (cc, gcc, clang). Install gcc or clang, or "
        "name one in CC. `rnngen generate` needs none."
    )
    assert left(own_cache) == []


def test_a_compiler_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CC", "no-such-cc -O2")
    assert "found none (CC=no-such-cc -O2)" in refusal()


def test_a_command_that_no_shell_reads(monkeypatch):
    monkeypatch.setenv("CFLAGS", "-DX='")
    assert refusal().startswith('CFLAGS: words as a shell reads them; got "-DX=\'"')


def test_a_failing_compiler(monkeypatch, tmp_path, own_cache):
    """Its exit code, its command and its own words."""
    monkeypatch.setenv("CC", fake(tmp_path, "echo 'net.c:1: error: no such luck' >&2; exit 3"))
    message = refusal()
    assert message.startswith(f"compiler: exit code 3 from {tmp_path}/fakecc -std=c99")
    assert message.endswith("\nnet.c:1: error: no such luck")
    assert left(own_cache) == []


def test_a_hanging_compiler(monkeypatch, tmp_path, own_cache):
    """Stopped with all its children, however deep."""
    monkeypatch.setenv("CC", fake(tmp_path, "(sleep 987654; true) & sleep 987654"))
    monkeypatch.setattr(compiler, "TIMEOUT", 0.3)
    start = time.monotonic()
    assert refusal().startswith("compiler: an answer within 0.3 s; stopped ")
    assert time.monotonic() - start < 60
    assert left(own_cache) == []
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"987654" in read(path)]


def read(path: Path) -> bytes:
    """A file that may vanish at any moment."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("code", [0, 1])
def test_a_babbling_compiler(monkeypatch, tmp_path, own_cache, code):
    """A hundred megabytes are read and dropped; the message stays short."""
    body = f"head -c 100000000 /dev/zero | tr '\\0' 'x' | fold -w 100; exit {code}"
    monkeypatch.setenv("CC", fake(tmp_path, body))
    message = refusal()
    assert len(message) < 10_000
    assert left(own_cache) == []
    if code:
        assert "compiler: exit code 1" in message
        assert message.count("\n") <= 22


def test_a_compiler_that_makes_nothing(monkeypatch, tmp_path, own_cache):
    """It says that all is well, and nothing is there."""
    monkeypatch.setenv("CC", fake(tmp_path, "exit 0"))
    assert refusal().endswith("fakecc said that all is well, and there is no net.o")
    assert left(own_cache) == []


def test_a_compiler_that_makes_rubbish(monkeypatch, tmp_path, own_cache):
    body = 'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo rubbish >"$2"; shift; done'
    body += "; touch net.o net_bound.o"
    monkeypatch.setenv("CC", fake(tmp_path, body))
    assert "cannot be loaded" in refusal()


def test_a_compiler_that_cannot_be_started(monkeypatch, tmp_path):
    path = tmp_path / "fakecc"
    path.write_text("not a program")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))
    assert f"compiler: {path} cannot be started: Exec format error" in refusal()


def test_flags_come_from_the_environment(monkeypatch, own_cache):
    """CC with a wrapper, CFLAGS at the end; another flag is another build."""
    monkeypatch.setenv("CC", "env gcc")
    one = rnngen.compile(spec())
    monkeypatch.setenv("CFLAGS", "-O1 -DNET_LANES=1")
    other = rnngen.compile(spec())
    assert one.library.path.name == other.library.path.name
    assert one.library.path != other.library.path
    assert len(left(own_cache)) == 2
    monkeypatch.setenv("CFLAGS", "-ffast-math")
    assert "compile without -ffast-math and its kin" in refusal()


def test_a_compiler_beside_us(monkeypatch, tmp_path, own_cache):
    """CC may be relative to the working folder, though it runs in another."""
    fake(tmp_path, f'exec {shutil.which("cc")} "$@"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", "./fakecc")
    assert rnngen.compile(spec())


def test_a_wrapped_compiler_that_changed(monkeypatch, tmp_path, own_cache):
    """`env mycc` is another compiler when mycc is."""
    real = shutil.which("cc")
    monkeypatch.setenv("CC", "env " + fake(tmp_path, f'exec {real} "$@"'))
    rnngen.compile(spec())
    fake(tmp_path, f'# a newer one\nexec {real} "$@"')
    rnngen.compile(spec())
    assert len(left(own_cache)) == 2


def test_no_python_headers(monkeypatch, tmp_path, own_cache):
    monkeypatch.setattr(build.sysconfig, "get_path", lambda _: str(tmp_path))
    assert refusal() == (f"compiler: Python.h; it is not in {tmp_path}. Install python3-dev")
    assert left(own_cache) == []


def test_interrupted(monkeypatch, tmp_path, own_cache):
    """Ctrl-C stops the compiler and leaves nothing."""
    begun = tmp_path / "begun"
    monkeypatch.setenv("CC", fake(tmp_path, f"touch {begun}; sleep 600"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` ignores it

    def interrupt():
        while not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        rnngen.compile(spec())
    signal.signal(signal.SIGINT, before)
    assert left(own_cache) == []


# The cache.


def test_sixteen_processes_compile_once(answer, own_cache, tmp_path):
    """The first one builds, the others wait and load; all of them answer the same."""
    count = tmp_path / "count"
    real = shutil.which("cc")
    script = fake(tmp_path, f'echo . >>{count}; exec {real} "$@"')
    env = os.environ | {"CC": script}
    command = [sys.executable, "-c", SCRIPT]
    jobs = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(16)
    ]
    answers = [job.communicate()[0] for job in jobs]
    assert answers == [answer] * 16
    assert count.read_text().count(".") == 3  # networks, glue, link
    assert len(left(own_cache)) == 1


@pytest.mark.full
def test_killed_at_any_moment(answer, own_cache):
    """kill -9 a hundred times; no corrupt module is ever loaded, the next call heals."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        job = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.05, 0.7))
        job.kill()
        job.wait()
        if rng.random() < 0.3:
            shutil.rmtree(own_cache, ignore_errors=True)
    assert python().stdout == answer
    assert len(left(own_cache)) == 1


@pytest.mark.parametrize("what", ["file", "folders"])
def test_something_else_in_its_place(answer, own_cache, what):
    """A file where the folder should be, folders where files should be."""
    assert python().stdout == answer
    (place,) = [p for p in own_cache.iterdir() if p.suffix != ".lock"]
    names = [p.name for p in place.iterdir()]
    shutil.rmtree(place)
    if what == "file":
        place.write_text("")
    else:
        for name in names:
            (place / name).mkdir(parents=True)
    assert python().stdout == answer


@pytest.mark.parametrize("file", ["*.so", "digest.json"])
@pytest.mark.parametrize("change", ["flip", "cut", "empty", "gone"])
def test_a_damaged_module_is_built_again(answer, own_cache, file, change):
    """Every file is checked before it is loaded."""
    assert python().stdout == answer
    (path,) = own_cache.glob(f"*/{file}")
    raw = path.read_bytes()
    middle = len(raw) // 2
    changed = {
        "flip": raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :],
        "cut": raw[:-1],
        "empty": b"",
        "gone": None,
    }[change]
    path.unlink()
    if changed is not None:
        path.write_bytes(changed)
    again = python()
    assert again.stdout == answer, again.stderr
    assert next(own_cache.glob("*/*.so")).stat().st_size > 1000


def test_the_folder_is_private(own_cache):
    rnngen.compile(spec())
    assert stat.S_IMODE(own_cache.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write(own_cache, mode):
    """Loading from it would run what they put there."""
    own_cache.mkdir(parents=True)
    own_cache.chmod(mode)
    assert refusal() == f"cache: a folder that only you can write; {own_cache} has mode {mode:04o}"


def test_a_folder_of_another_user(own_cache, monkeypatch):
    own_cache.mkdir(parents=True)
    monkeypatch.setattr(cache.os, "getuid", lambda: 12345)
    assert f"cache: a folder of your own; {own_cache} belongs to user" in refusal()


def test_a_folder_that_is_none(own_cache):
    own_cache.parent.mkdir()
    own_cache.write_text("")
    assert refusal().startswith("cache: a folder")
    own_cache.unlink()
    own_cache.symlink_to(own_cache.parent)
    assert refusal().startswith("cache: a folder; got something else")


@pytest.fixture
def small_disk(tmp_path, tool):
    """A file system of its own, of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mount = [tool("mount"), "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(place)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system here")
    yield place
    subprocess.run([tool("umount"), "-l", str(place)], check=True)


def test_a_full_disk(small_disk, monkeypatch):
    """Whoever notices first, Python or the compiler, says so; what was begun is removed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    (small_disk / "filler").write_bytes(b"x" * (1024 * 1024 - 12 * 4096))
    assert "No space left on device" in refusal()
    assert left(small_disk / "rnngen") == []


def test_a_read_only_disk(small_disk, monkeypatch, tool):
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    subprocess.run([tool("mount"), "-o", "remount,ro", str(small_disk)], check=True)
    assert refusal() == (
        "cache: a folder that can be written; got Read-only file system at "
        f"{small_disk}/rnngen. XDG_CACHE_HOME names another place"
    )


def test_a_read_only_folder(own_cache, tmp_path):
    """Nobody but root writes there."""
    if not os.getuid():
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    message = refusal()
    tmp_path.chmod(0o700)
    assert "Permission denied" in message


# Identity of what is loaded.


def test_one_name_two_networks(cc):
    """Two specs of one name, and one rebuilt otherwise, live side by side in one process."""
    first = net(spec())
    second = net(spec(hidden_size=9))
    third = net(spec(num_layers=2))
    x, h, c = data(spec())
    before = first(x, state(spec(), h, c))
    assert second(x)[0].shape == (4, 2, 9)
    assert third(x)[1][0].shape == (2, 2, 5)
    assert same(first(x, state(spec(), h, c)), before)


def test_the_same_library_from_two_folders(tmp_path, monkeypatch):
    """Compiled twice in different places: equal to the last byte."""
    digests = []
    for place in ("one", "two/deeper"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
        digests.append(cache._sha256(rnngen.compile(spec()).library.path))
    assert digests[0] == digests[1]


def test_many_threads_one_network(cc):
    """Threads share a network; each answer is the serial one, bit for bit."""
    s = spec(hidden_size=32, num_layers=2, bidirectional=True)
    network = net(s)
    inputs = [data(s, steps=50, batch=3, seed=n) for n in range(8)]
    serial = [network(x, state(s, h, c)) for x, h, c in inputs]
    answers: dict[int, list] = {n: [] for n in range(8)}

    def work(n):
        x, h, c = inputs[n]
        for _ in range(20):
            answers[n].append(network(x, state(s, h, c)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(a, serial[n]) for n in range(8) for a in answers[n])


def _answer(network, x):
    return network(x)[0].tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_other_processes(cc, method):
    """A network travels to workers, forked or spawned."""
    network = net(spec(cell="gru"))
    x, _, _ = data(network.spec)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(_answer, [(network, x)] * 4) == [_answer(network, x)] * 4


def test_pickle(cc):
    """Spec and weights travel, native code does not."""
    network = net(spec(cell="gru"))
    x, _, _ = data(network.spec)
    other = pickle.loads(pickle.dumps(network))
    assert other.spec == network.spec
    assert _answer(other, x) == _answer(network, x)
    empty = pickle.loads(pickle.dumps(rnngen.compile(spec())))
    assert not empty.state_dict()


def test_no_compiler_for_what_is_cached(own_cache, monkeypatch):
    """The key holds the compiler, so it has to be there; it is not started."""
    net(spec())
    monkeypatch.setattr(compiler, "run", lambda *_: pytest.fail("a compiler was started"))
    net(spec())


def test_many_plans_in_one_module(cc):
    plans = [decide(resolve(spec(name=f"n{n}", hidden_size=n + 1))) for n in range(3)]
    library = build.library(plans)
    assert all(hasattr(library.lib, f"n{n}_forward") for n in range(3))
    assert library.code_bytes > 500


@pytest.mark.parametrize("name", ["mkdtemp", "replace", "read_bytes", "write_text", "mkdir"])
def test_every_file_operation_may_fail(own_cache, monkeypatch, name):
    """Whatever of it fails: one message, nothing left, and the next call works."""
    owner = {"mkdtemp": cache.tempfile, "replace": cache.os}.get(name, Path)
    real = getattr(owner, name)

    def broken(*args, **kwargs):
        raise OSError(5, "Input/output error", str(args[0]) if args else None)

    monkeypatch.setattr(owner, name, broken)
    assert refusal().startswith("cache: a folder that can be written; got Input/output error")
    monkeypatch.setattr(owner, name, real)
    assert left(own_cache) == []
    assert rnngen.compile(spec())


def test_weights_of_a_large_network(cc):
    """Offsets beyond 16 bits, blocks and rests together."""
    s = spec(cell="gru", input_size=300, hidden_size=270)
    assert net(s).validate().ok
    assert sum(w.size for w in weights(s).values()) > 400_000


def test_the_message_of_a_bug(monkeypatch):
    """A wrong pointer is caught by the C, whose code is shown."""
    network = net(spec(cell="gru"))
    monkeypatch.setattr(type(network), "workspace", lambda *_: 0)
    deep = net(spec(cell="gru", num_layers=2))
    with pytest.raises(RuntimeError, match="net: the C answered with error 4"):
        deep(np.zeros((2, 1, 3), np.float32))


def test_nothing_happens_on_import():
    """No thread, no file, no folder."""
    script = textwrap.dedent(
        """
        import threading, os, rnngen
        from rnngen import run, jobs, console
        print(threading.active_count(), os.path.exists(os.environ["XDG_CACHE_HOME"]))
        """
    )
    env = os.environ | {"XDG_CACHE_HOME": "/nonexistent/cache"}
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert out == "1 False\n"
