"""The rules of a spec by code, as `rnngen rule CODE` explains them. Codes keep their meaning."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    title: str
    why: str  # what is refused, why, and what to write instead


def _rule(title: str, why: str) -> Rule:
    return Rule(title, " ".join(why.split()))


RULES = {
    "RNN001": _rule(
        "the spec can be read",
        """The file does not exist, is not a regular file, or may not be read.""",
    ),
    "RNN002": _rule(
        "a spec has at most 64 KiB",
        """A spec is a dozen lines. Anything larger is a mistake or an attack and is not parsed.""",
    ),
    "RNN003": _rule(
        "a spec is UTF-8 without a byte order mark",
        """Save the file as UTF-8. UTF-16 and a leading byte order mark are refused.""",
    ),
    "RNN004": _rule(
        "a spec has no invisible characters",
        """Control, formatting and bidirectional characters can make a file read differently
        to people and to programs. Tabs and line ends are the exception.""",
    ),
    "RNN005": _rule("a spec is YAML", """The text does not parse; the message is the parser's."""),
    "RNN006": _rule(
        "no anchors and aliases",
        """`&name` and `*name` let a few bytes stand for gigabytes. Write the value out.""",
    ),
    "RNN007": _rule(
        "no tags",
        """`!tag` asks the reader to build an object. A spec holds plain values only.""",
    ),
    "RNN008": _rule("no merge keys", """`<<` takes values from elsewhere. Write them out."""),
    "RNN009": _rule(
        "a field is given once",
        """YAML readers silently keep the last of two; rnngen asks which one is meant.""",
    ),
    "RNN010": _rule(
        "a spec is one flat list of `field: value`",
        """No lists but of architectures, for `isa`; no nested mappings, no second document.""",
    ),
    "RNN101": _rule(
        "only known fields",
        """`rnngen schema` prints the fields; the message suggests the nearest one.""",
    ),
    "RNN102": _rule(
        "the required fields are there",
        """`name`, `cell`, `input_size` and `hidden_size` have no default.""",
    ),
    "RNN103": _rule(
        "a value has the kind of its field",
        """Numbers are decimal, without quotes, leading zeros, underscores or a sign that means
        nothing; switches are `true` and `false` (not yes, no, on, off). YAML 1.1 would read 016
        as 14 and 1:30 as 90; rnngen reads what is written, or refuses.""",
    ),
    "RNN104": _rule(
        "a value is among those its field allows",
        """Ranges and choices are torch.nn's, with upper bounds that keep every size inside
        what C's types can count.""",
    ),
    "RNN105": _rule(
        "a name is [a-z][a-z0-9_]*, at most 48 characters, ASCII",
        """It becomes file names, C identifiers and a Python module, so it has to be valid as
        each of them.""",
    ),
    "RNN106": _rule(
        "a name means nothing else yet",
        """Keywords of C, C++ and Python, headers and functions of the C library, modules of
        Python and device names of Windows are taken: `time.h` or `import time` would find the
        wrong thing. Put a word in front: `my_time`.""",
    ),
    "RNN107": _rule(
        "a field belongs to its cell",
        """As in torch.nn: `nonlinearity` is for `cell: rnn`, `proj_size` for `cell: lstm`.""",
    ),
    "RNN108": _rule(
        "proj_size is smaller than hidden_size",
        """torch.nn.LSTM's own rule. 0 means no projection.""",
    ),
    "RNN109": _rule(
        "instructions belong to their target",
        """`portable`, `avx2` and `avx512` are for C, the architectures `sm_80` and so on, and lists
        of them, for CUDA.
        `auto` is for every processor of the target, `native` for that of this machine.""",
    ),
    "RNN110": _rule(
        "weights are a file below the spec",
        """A relative path without `..`, to a .safetensors file, so that a spec and its weights
        travel together and a spec from elsewhere reads nothing else. For a file in another
        place use `--weights`, or `weights=` in Python.""",
    ),
    "RNN111": _rule(
        "at most 2^28 weights",
        """1 GiB in float32. Larger sizes are most often a typing mistake.""",
    ),
    "RNN112": _rule(
        "at most 256 passes",
        """A pass is one direction of one layer. Each adds a few lines of C, and a net of more
        than 256 is most often a typing mistake.""",
    ),
    "RNN113": _rule(
        "16-bit numbers are for CUDA",
        """`float16` and `bfloat16` are what the tensor cores of a GPU multiply. C has no type for
        them, and processors are not faster with them: use `float32`, which takes such weights.""",
    ),
}
