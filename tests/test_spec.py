"""Specs: torch's defaults, every message word for word, and what a hostile file cannot do."""

from __future__ import annotations

import json
import os
import string
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from nets import spec

import rnngen
from rnngen import conflicts, document
from rnngen.errors import SpecError
from rnngen.resources import text as shipped
from rnngen.rules import RULES
from rnngen.spec import Spec, retarget, schema

GOOD = "name: toy\ncell: lstm\ninput_size: 8\nhidden_size: 12\n"


def refusal(source) -> str:
    with pytest.raises(SpecError) as caught:
        rnngen.load_spec(source)
    return str(caught.value)


def test_defaults_are_torchs():
    s = rnngen.load_spec(GOOD)
    assert s.public() == {
        "name": "toy",
        "cell": "lstm",
        "input_size": 8,
        "hidden_size": 12,
        "num_layers": 1,
        "bias": True,
        "batch_first": False,
        "dropout": 0.0,
        "bidirectional": False,
        "proj_size": 0,
        "dtype": "float32",
        "target": "c",
        "isa": "auto",
    }
    assert s.weights is None


def test_file_text_and_dict_are_one_spec(tmp_path):
    (tmp_path / "toy.yaml").write_text(GOOD)
    fields = {"name": "toy", "cell": "lstm", "input_size": 8, "hidden_size": 12}
    specs = [rnngen.load_spec(source) for source in (tmp_path / "toy.yaml", GOOD, fields)]
    assert len({json.dumps(s.public()) for s in specs}) == 1
    assert rnngen.load_spec(str(tmp_path / "toy.yaml")).public() == specs[0].public()
    assert rnngen.load_spec(specs[0]) is specs[0]


def test_values_are_read_as_written():
    """Not as YAML 1.1 reads them."""
    more = "dropout: 1e-3\nbatch_first: true # yes\nnum_layers: 2\nbias: false\n"
    s = rnngen.load_spec(GOOD + more + "weights: 'a b.safetensors'")
    assert (s.dropout, s.batch_first, s.num_layers, s.bias) == (0.001, True, 2, False)
    assert s.weights == "a b.safetensors"
    assert rnngen.load_spec(GOOD.replace("\n", "\r\n")).name == "toy"
    assert rnngen.load_spec("---\n" + GOOD + "...\n").name == "toy"
    assert rnngen.load_spec("{name: toy, cell: gru, input_size: 1, hidden_size: 1}").cell == "gru"
    assert rnngen.load_spec(GOOD.replace("toy", "'no'")).name == "no"


SIZE = "a whole number from 1 to 65536"
ISA = (
    "auto or native; portable, avx2 or avx512 for target c; sm_80, sm_90, sm_100 or sm_120, or a "
    "list of them, each once, for target cuda"
)
# One change of the good spec -> the message about it.
MESSAGES = {
    "name: Toy": "1:7: RNN105 name: [a-z][a-z0-9_]*, at most 48 characters: prefix of files and C "
    "names; got 'Toy'",
    "name: time": "1:7: RNN106 name: a name that means nothing else yet; got 'time'",
    "cell: lstn": "2:7: RNN104 cell: lstm, gru or rnn; got 'lstn'",
    "cell: LSTM": "2:7: RNN104 cell: lstm, gru or rnn; got 'LSTM'",
    "input_size: 0": f"3:13: RNN104 input_size: {SIZE}; got 0",
    "input_size: -1": f"3:13: RNN104 input_size: {SIZE}; got -1",
    "input_size: 65537": f"3:13: RNN104 input_size: {SIZE}; got 65537",
    "input_size: eight": f"3:13: RNN103 input_size: {SIZE}; got 'eight'",
    "input_size: '8'": f"3:13: RNN103 input_size: {SIZE}; got '8'",
    "input_size: 8.0": f"3:13: RNN103 input_size: {SIZE}; got '8.0'",
    "input_size: 016": f"3:13: RNN103 input_size: {SIZE}; got '016'",
    "input_size: 0x10": f"3:13: RNN103 input_size: {SIZE}; got '0x10'",
    "input_size: 1:30": f"3:13: RNN103 input_size: {SIZE}; got '1:30'",
    "input_size: 1_000": f"3:13: RNN103 input_size: {SIZE}; got '1_000'",
    "input_size: +8": f"3:13: RNN103 input_size: {SIZE}; got '+8'",
    "input_size: true": f"3:13: RNN103 input_size: {SIZE}; got 'true'",
    "input_size:": f"3:12: RNN103 input_size: {SIZE}; got ''",
    "input_size: ٨": f"3:13: RNN103 input_size: {SIZE}; got '٨'",
    "hidden_size: [8]": "4:14: RNN010 hidden_size: a single value; got a list",
    "hidden_size: {a: 8}": "4:14: RNN010 hidden_size: a single value; got a nested mapping",
    "num_layers: 0": "5:13: RNN104 num_layers: a whole number from 1 to 256; got 0",
    "bias: no": "5:7: RNN103 bias: true or false; got 'no'",
    "bias: True": "5:7: RNN103 bias: true or false; got 'True'",
    "bias: 1": "5:7: RNN103 bias: true or false; got '1'",
    "bidirectional: 'true'": "5:16: RNN103 bidirectional: true or false; got 'true'",
    "dropout: 1.5": "5:10: RNN104 dropout: a number from 0 to 1; got 1.5",
    "dropout: -0.1": "5:10: RNN104 dropout: a number from 0 to 1; got -0.1",
    "dropout: .nan": "5:10: RNN103 dropout: a number from 0 to 1; got '.nan'",
    "dropout: 1e999": "5:10: RNN104 dropout: a number from 0 to 1; got inf",
    "proj_size: 12": "5:12: RNN108 proj_size: smaller than hidden_size (12); got 12",
    "proj_size: -1": "5:12: RNN104 proj_size: a whole number from 0, smaller than hidden_size; "
    "got -1",
    "nonlinearity: tanh": "5:15: RNN107 nonlinearity: for cell rnn; got 'tanh' with cell lstm",
    "nonlinearity: selu": "5:15: RNN104 nonlinearity: tanh or relu, for cell rnn; got 'selu'",
    "dtype: float8": "5:8: RNN104 dtype: float32 or float64; float16 or bfloat16 too for target "
    "cuda; got 'float8'",
    "dtype: float16": "5:8: RNN113 dtype: for target cuda; got 'float16' with target c",
    "target: hip": "5:9: RNN104 target: c or cuda; got 'hip'",
    "isa: sse4": f"5:6: RNN104 isa: {ISA}; got 'sse4'",
    "isa: [sm_80, sm_91]": f"5:6: RNN104 isa: {ISA}; got ['sm_80', 'sm_91']",
    "isa: [auto]": f"5:6: RNN104 isa: {ISA}; got ['auto']",
    "isa: []": f"5:6: RNN104 isa: {ISA}; got []",
    "target: cuda\nisa: [sm_90, sm_80, sm_90]": f"6:6: RNN104 isa: {ISA}; got ['sm_90', 'sm_80', "
    "'sm_90']",
    "isa: [sm_80, sm_90]": "5:6: RNN109 isa: auto, portable, avx2, avx512 or native for target c; "
    "got ['sm_80', 'sm_90']",
    "isa: [[sm_80]]": "5:7: RNN010 isa: a list of single values; got a list",
    "isa: {sm_80: sm_90}": "5:6: RNN010 isa: a single value or a list; got a nested mapping",
    "isa: [&a sm_80, *a]": "5:7: RNN006 no anchors; got '&a'",
    f"isa: [{'sm_80, ' * 65}]": "5:455: RNN010 isa: at most 64 values; got more",
    "isa: sm_90": "5:6: RNN109 isa: auto, portable, avx2, avx512 or native for target c; got "
    "'sm_90'",
    "target: cuda\nisa: avx2": "6:6: RNN109 isa: auto, sm_80, sm_90, sm_100, sm_120 or native for "
    "target cuda; got 'avx2'",
    "weights: /etc/w.safetensors": "5:10: RNN110 weights: a relative path without ..; got "
    "'/etc/w.safetensors'",
    "weights: ../w.safetensors": "5:10: RNN110 weights: a relative path without ..; got "
    "'../w.safetensors'",
    "weights: a/../../w.safetensors": "5:10: RNN110 weights: a relative path without ..; got "
    "'a/../../w.safetensors'",
    "weights: w.pt": "5:10: RNN110 weights: a .safetensors file; got 'w.pt'",
    "weights: C:w.safetensors": "5:10: RNN110 weights: a relative path without ..; got "
    "'C:w.safetensors'",
    'weights: "a\\0.safetensors"': "5:10: RNN110 weights: a path of printable characters, with / "
    "between folders; got 'a\\x00.safetensors'",
    "hiden_size: 12": "5:1: RNN101 hiden_size: not a field of a spec; did you mean 'hidden_size'?",
    "learning_rate: 1": "5:1: RNN101 learning_rate: not a field of a spec",
    "name: other": "5:1: RNN009 name: given once; got it here and at 1:1",
    "? [a]\n: b": "5:3: RNN010 a field name; got a list",
    "bias: &b true": "5:7: RNN006 no anchors; got '&b'",
    "bias: *b": "5:7: RNN006 no aliases; got '*b'",
    "<<: {bias: true}": "5:1: RNN008 no merge keys; got '<<'",
    "bias: !!bool true": "5:7: RNN007 no tags; got 'tag:yaml.org,2002:bool'",
    "bias: !!python/object/apply:os.system [id]": "5:7: RNN007 no tags; got "
    "'tag:yaml.org,2002:python/object/apply:os'",
    "bias: !mine true": "5:7: RNN007 no tags; got '!mine'",
    "---\nname: two": "5:1: RNN010 one document; got a second one",
    "bias: 'true": "6:1: RNN005 YAML; found unexpected end of stream",
    "bias: tr\u202eue": "5:9: RNN004 no invisible characters; got U+202E",
    "bias: tr\x00ue": "5:9: RNN004 no invisible characters; got U+0000",
    "bias: true\x85": "5:11: RNN004 no invisible characters; got U+0085",
    "bias: true\rcell: gru": "5:11: RNN004 no invisible characters; got U+000D",
}


@pytest.mark.parametrize("change", MESSAGES)
def test_messages(change):
    """Field, rule, value and place, word for word."""
    key = change.split(":")[0]
    lines = GOOD.splitlines()
    known = [n for n, line in enumerate(lines) if line.startswith(f"{key}:")]
    if known and change != "name: other":
        lines[known[0]] = change
    else:
        lines.append(change)
    wanted = MESSAGES[change]
    line, column, message = wanted.split(":", 2)
    assert f"spec:{line}:{column}:{message}" in refusal("\n".join(lines) + "\n").splitlines()


def test_a_list_of_architectures():
    """Its order says nothing, and one of a single architecture is that one, as text or dict."""
    cuda = GOOD + "target: cuda\n"
    s = rnngen.load_spec(cuda + "isa: [sm_120, 'sm_80']")
    assert s.public()["isa"] == ["sm_80", "sm_120"]
    same = [cuda + "isa:\n  - sm_80 # A100\n  - sm_120\n", s.public(), {**s.public(), "isa": s.isa}]
    assert [rnngen.load_spec(source) for source in same] == [s] * 3
    assert rnngen.load_spec(cuda + "isa: [sm_90]") == rnngen.load_spec(cuda + "isa: sm_90")
    assert retarget(s, "c").isa == "auto"
    assert retarget(s, "cuda") is s
    with pytest.raises(
        ValueError, match=r"isa: auto, portable.* for target c; got \('sm_80', 'sm_"
    ):
        Spec(**{**s.public(), "target": "c"})


def test_all_mistakes_at_once_in_order():
    text = "name: Toy\ncel: lstm\ninput_size: none\nhidden_size: 12\nproj_size: 12\nbias: maybe\n"
    assert [line.split(" ")[1] for line in refusal(text).splitlines()] == [
        "RNN105",
        "RNN101",
        "RNN103",
        "RNN108",
        "RNN103",
    ]


def test_missing_fields():
    assert refusal("cell: gru\n").splitlines() == [
        f"spec:1:1: RNN102 hidden_size: {SIZE}; it is missing",
        f"spec:1:1: RNN102 input_size: {SIZE}; it is missing",
        "spec:1:1: RNN102 name: [a-z][a-z0-9_]*, at most 48 characters: prefix of files and C "
        "names; it is missing",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spec:1:1: RNN010 a list of `field: value`; got nothing"),
        ("# nothing\n", "spec:1:1: RNN010 a list of `field: value`; got nothing"),
        ("- a\n- b\n", "spec:1:1: RNN010 a list of `field: value`; got a list"),
        ("just text\n", "spec:1:1: RNN010 a list of `field: value`; got 'just text'"),
    ],
)
def test_not_a_spec(text, message):
    assert refusal(text) == message


def test_places_in_a_file(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(GOOD.replace("12", "twelve"))
    assert refusal(path) == f"{path}:4:14: RNN103 hidden_size: {SIZE}; got 'twelve'"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": True}, f"spec: RNN103 hidden_size: {SIZE}; got True"),
        ({"hidden_size": 12.0}, f"spec: RNN103 hidden_size: {SIZE}; got 12.0"),
        ({"hidden_size": "12"}, f"spec: RNN103 hidden_size: {SIZE}; got '12'"),
        ({"hidden_size": None}, f"spec: RNN103 hidden_size: {SIZE}; got None"),
        ({"hidden_size": 10**5000}, f"spec: RNN104 hidden_size: {SIZE}; got <int>"),
        ({"dropout": True}, "spec: RNN103 dropout: a number from 0 to 1; got True"),
        ({"bias": 1}, "spec: RNN103 bias: true or false; got 1"),
        ({"name": "toy\n"}, "got 'toy\\n'"),
        ({1: 2}, "spec: RNN101 1: not a field of a spec"),
    ],
)
def test_dicts(fields, message):
    good = {"name": "toy", "cell": "lstm", "input_size": 8, "hidden_size": 12}
    assert message in refusal(good | fields)


@pytest.mark.parametrize("source", [3, None, ["name"], object()])
def test_neither_path_text_nor_dict(source):
    assert refusal(source).startswith("spec: a path, YAML text or a dict; got ")


def test_a_spec_made_by_hand_keeps_the_rules():
    with pytest.raises(ValueError, match="proj_size: smaller than hidden_size"):
        Spec(name="toy", cell="lstm", input_size=8, hidden_size=12, proj_size=12)


# Hostile input, row by row.


def test_alias_bomb():
    """Refused at its first anchor; nothing is ever expanded."""
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    tracemalloc.start()
    message = refusal("\n".join(["a0: &a0 [x, x, x]", *levels]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "RNN006 no anchors; got '&a0'" in message
    assert peak < 20e6


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
@pytest.mark.parametrize("levels", [17, 2000, 16000])
def test_depth(opening, levels):
    """However deep, reading ends soon after it has gone wrong."""
    assert "RNN0" in refusal(GOOD + "bias: " + opening * levels)
    assert "RNN0" in refusal(opening * levels)


def test_reading_ends_where_it_makes_no_sense(monkeypatch):
    """PyYAML's cost grows with the square of the depth; only the beginning is ever read."""
    read = []
    parse = document.yaml.parse

    def counted(*args, **kwargs):
        for event in parse(*args, **kwargs):
            read.append(event)
            yield event

    monkeypatch.setattr(document.yaml, "parse", counted)
    deep = refusal(GOOD + "bias: " + "[" * 60000)
    assert deep.endswith("RNN010 bias: a single value; got a list")
    assert len(read) < 300
    read.clear()
    many = "".join(f"a{n}: 1\n" for n in range(5000))
    assert "RNN010 at most 64 fields; got more" in refusal(many)
    assert len(read) < 200


def test_size():
    assert refusal("#" * 65537 + "\n") == "spec:1:1: RNN002 a spec has at most 64 KiB; got more"
    assert rnngen.load_spec(GOOD + "#" * (65536 - len(GOOD))).name == "toy"


def test_a_file_without_end(tmp_path):
    """Only as much as a spec may have is ever read, and only of regular files."""
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(10**12)
    assert "RNN002" in refusal(tmp_path / "big.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "RNN001 a readable file; got not a regular file" in refusal(tmp_path / "pipe.yaml")
    assert "RNN001 a readable file; got not a regular file" in refusal(tmp_path)
    assert "RNN001 a readable file; got No such file" in refusal(tmp_path / "none.yaml")
    assert "RNN001" in refusal("a\0b.yaml")


def test_huge_integers():
    assert "RNN103" in refusal(GOOD.replace("12", "9" * 5000))
    assert "RNN104" in refusal(GOOD.replace("12", "999999999"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xef\xbb\xbf" + GOOD.encode(), "RNN003 UTF-8 without a byte order mark"),
        (GOOD.encode("utf-16"), "RNN003 UTF-8 without a byte order mark"),
        (GOOD.encode("utf-16-le"), "RNN004 no invisible characters; got U+0000"),
        (GOOD.encode() + b"# caf\xe9\n", "5:6: RNN003 UTF-8; got byte 0xe9"),
        (b"\xff" * 10, "RNN003 UTF-8"),
    ],
)
def test_encodings(tmp_path, data, message):
    (tmp_path / "toy.yaml").write_bytes(data)
    assert message in refusal(tmp_path / "toy.yaml")


TAKEN = """int class restrict alignas co_await def time math stdio string read write index y0 j1
gamma near far con nul com1 errno numpy torch rnngen main size_t stdin
pydantic filelock jinja2 alloca"""


@pytest.mark.parametrize("name", TAKEN.split())
def test_names_that_are_taken(name):
    """By C, C++, Python, POSIX, Windows or a package that the generated one needs."""
    assert "RNN106" in refusal(GOOD.replace("toy", name))
    assert rnngen.load_spec(GOOD.replace("toy", f"{name}_")).name == f"{name}_"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 49,
        "9a",
        "_a",
        "aA",
        "a-b",
        "a.b",
        "a b",
        "é",
        "\uff41",
        "a/b",
        "..",
        "CON",
        "a\\nb",
    ]
    + ["a(void);int b", "a */ int evil(void) /*", "a??/", "a\\\\", "../x", "/x", "a\\x00"],
)
def test_hostile_names(name):
    """None of them is a file name, an identifier or the end of a comment."""
    assert "RNN105" in refusal(GOOD.replace("toy", f'"{name}"'))


@pytest.mark.parametrize("name", ["f", "r", "w", "x"])
def test_names_whose_codes_are_macros(name):
    """X_OK is one of unistd.h's."""
    assert "RNN106" in refusal(GOOD.replace("toy", name))


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_other_name_passes(name):
    """Whatever passes is an identifier of at most 48 ASCII characters that means nothing yet."""
    fields = {"name": name, "cell": "gru", "input_size": 1, "hidden_size": 1}
    try:
        passed = rnngen.load_spec(fields).name
    except SpecError:
        return
    assert set(passed) <= set(string.ascii_lowercase + string.digits + "_")
    assert 1 <= len(passed) <= 48
    assert passed not in conflicts.reserved_names()


def test_weights_behind_a_link(tmp_path):
    """A link does not lead out of the spec's folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "w.safetensors").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "toy.yaml").write_text(GOOD + "weights: link/w.safetensors\n")
    assert "a file below the spec's folder, also behind links" in refusal(
        tmp_path / "in" / "toy.yaml"
    )


def test_links_in_a_circle(tmp_path):
    (tmp_path / "w.safetensors").symlink_to(tmp_path / "w.safetensors")
    (tmp_path / "toy.yaml").write_text(GOOD + "weights: w.safetensors\n")
    assert "RNN110 weights: a file below the spec's folder" in refusal(tmp_path / "toy.yaml")


def test_links_in_the_working_folder_do_not_matter(tmp_path, monkeypatch):
    """The spec's own folder counts."""
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "toy.yaml").write_text(GOOD + "weights: w.safetensors\n")
    (tmp_path / "w.safetensors").symlink_to("/etc/passwd")
    monkeypatch.chdir(tmp_path)
    assert rnngen.load_spec("away/toy.yaml").weights_path == Path("away/w.safetensors")


def test_weights_are_relative_to_the_spec(tmp_path):
    (tmp_path / "toy.yaml").write_text(GOOD + "weights: sub/w.safetensors\n")
    assert rnngen.load_spec(tmp_path / "toy.yaml").weights_path == tmp_path / "sub/w.safetensors"


def test_bounds_on_weights_and_code():
    big = GOOD.replace("8", "65536").replace("12", "65536")
    assert "4:14: RNN111 hidden_size: at most 2^28 weights in all; got 34360262656" in refusal(big)
    deep = GOOD + "num_layers: 129\nbidirectional: true\n"
    assert "RNN112 num_layers: at most 256 passes (layers x directions); got 129 x 2" in refusal(
        deep
    )
    assert rnngen.load_spec(GOOD + "num_layers: 256\n").num_layers == 256


def test_nothing_is_compiled_before_the_spec_is_sound(monkeypatch):
    from rnngen import compiler

    monkeypatch.setattr(compiler, "run", lambda *_: pytest.fail("a compiler was started"))
    with pytest.raises(SpecError):
        rnngen.compile(GOOD.replace("12", "none"))
    with pytest.raises(rnngen.errors.WeightsError):
        rnngen.compile(GOOD, weights={})


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "ignore")))
def test_any_bytes(data):
    """Every file is a spec or a message with place and code; never another error."""
    doc = document.decode(data)
    if isinstance(doc, str):
        document.read(doc)
    for line in complaints(data.decode("utf-8", "replace") + "\n"):
        place, code, _ = line.split(" ", 2)
        assert place.startswith("spec:")
        assert code in RULES


def complaints(text: str) -> list[str]:
    """The lines of the refusal, if there is one."""
    try:
        rnngen.load_spec(text)
    except SpecError as error:
        return str(error).splitlines()
    return []


TOKENS = st.sampled_from(
    [
        "name",
        "cell",
        "lstm",
        "input_size",
        "8",
        ":",
        " ",
        "\n",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a",
        "*a",
    ]
    + [
        "!!int",
        "<<",
        "'",
        '"',
        "#",
        "|",
        ">",
        "?",
        ",",
        "\t",
        "---",
        "...",
        "%YAML 1.1",
        "true",
        "1e3",
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(TOKENS, max_size=40).map("".join))
def test_any_yaml(text):
    """The same for text that looks like YAML."""
    assert all(line.startswith("spec:") for line in complaints(text + "\n"))


LISTS = ((["sm_90", "sm_80"], True), (["sm_90", "sm_90"], False), ([], False), (["avx2"], False))


def test_schema_is_shipped_and_valid(update_golden):
    """The file in the wheel is the schema of today, in draft 7, and knows good from bad."""
    wanted = json.dumps(schema(), indent=2) + "\n"
    if update_golden:
        from rnngen import resources

        path = resources.__file__.replace("resources.py", "rnngen.schema.json")
        with open(path, "w") as file:
            file.write(wanted)
    assert shipped("rnngen.schema.json") == wanted
    Draft7Validator.check_schema(schema())
    validator = Draft7Validator(schema())
    assert validator.is_valid(rnngen.load_spec(GOOD).public())
    assert validator.is_valid(spec(cell="rnn", weights="w.safetensors").public())
    assert not validator.is_valid(rnngen.load_spec(GOOD).public() | {"hidden_size": 0})
    for isa, good in LISTS:
        assert validator.is_valid(rnngen.load_spec(GOOD).public() | {"isa": isa}) == good
    assert not validator.is_valid(rnngen.load_spec(GOOD).public() | {"hiden_size": 1})
    assert not validator.is_valid({"name": "toy"})
    assert not validator.is_valid(rnngen.load_spec(GOOD).public() | {"weights": None})


def test_every_code_has_a_rule_and_every_rule_a_use():
    """Codes in the source and in rules.py are the same ones."""
    import re
    from pathlib import Path

    folder = Path(rnngen.__file__).parent
    used = {
        code
        for path in folder.rglob("*.py")
        if path.name not in ("rules.py", "__main__.py")
        for code in re.findall(r"RNN\d{3}", path.read_text())
    }
    assert used == set(RULES)
