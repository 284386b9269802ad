"""Spec: what a user may ask for, in torch.nn's words; YAML, dict or path -> Spec, or every mistake.

Alone in knowing what a field may be and what to say if it is not. The fields are pydantic's, the
places PyYAML's, the messages our own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Strict,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from rnngen import conflicts, document
from rnngen.conflicts import MAX_PASSES, NAME, show
from rnngen.document import Document, Problem, Scalar
from rnngen.errors import SpecError
from rnngen.targets import ARCHITECTURES

MAX_SIZE = 65_536  # of a layer; beyond, the bound on all weights has long been passed
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,8})")
_NUMBER = re.compile(r"-?([0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})([eE][-+]?[0-9]{1,3})?")
_SIZE = f"a whole number from 1 to {MAX_SIZE}"
_LISTS = ("isa",)  # fields that may be one

_Architecture = Literal["sm_80", "sm_90", "sm_100", "sm_120"]
_Architectures = Annotated[
    tuple[_Architecture, ...],
    Strict(False),  # a list will do
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
]
_Instructions = Literal["auto", "portable", "avx2", "avx512", _Architecture, "native"]
_Isa = Annotated[
    Annotated[_Instructions, Tag("one")] | Annotated[_Architectures, Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "one"),
]


def _plain_string(schema: dict[str, Any]) -> None:
    """`weights` in the JSON Schema: a string or absent, never null."""
    schema |= {"type": "string"}
    del schema["anyOf"], schema["default"]


class Spec(BaseModel):
    """One recurrent network: the arguments of torch.nn.LSTM, GRU or RNN, and where it should run.

    `rnngen.load_spec` makes one and reports mistakes; a Spec never changes. A field's description
    is its rule, as messages and editors show it.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", title="rnngen spec")

    name: str = Field(
        description="[a-z][a-z0-9_]*, at most 48 characters: prefix of files and C names",
        pattern=f"^{NAME.pattern}$",
    )
    cell: Literal["lstm", "gru", "rnn"] = Field(description="lstm, gru or rnn")
    nonlinearity: Literal["tanh", "relu"] = Field("tanh", description="tanh or relu, for cell rnn")
    input_size: int = Field(description=_SIZE, ge=1, le=MAX_SIZE)
    hidden_size: int = Field(description=_SIZE, ge=1, le=MAX_SIZE)
    num_layers: int = Field(
        1, description=f"a whole number from 1 to {MAX_PASSES}", ge=1, le=MAX_PASSES
    )
    bias: bool = Field(True, description="true or false")
    batch_first: bool = Field(False, description="true or false")
    dropout: float = Field(0.0, description="a number from 0 to 1", ge=0, le=1)
    bidirectional: bool = Field(False, description="true or false")
    proj_size: int = Field(
        0, description="a whole number from 0, smaller than hidden_size", ge=0, le=MAX_SIZE
    )
    dtype: Literal["float32", "float64", "float16", "bfloat16"] = Field(
        "float32", description="float32 or float64; float16 or bfloat16 too for target cuda"
    )
    target: Literal["c", "cuda"] = Field("c", description="c or cuda")
    isa: _Isa = Field(
        "auto",
        description="auto or native; portable, avx2 or avx512 for target c; sm_80, sm_90, sm_100 "
        "or sm_120, or a list of them, each once, for target cuda",
    )
    weights: str | None = Field(
        None,
        description="path of a .safetensors file below the spec's folder",
        json_schema_extra=_plain_string,
    )
    _folder: Path = PrivateAttr(default=Path())  # the spec's own

    @property
    def instructions(self) -> str:
        """`isa` of target c, which is no list."""
        assert isinstance(self.isa, str)
        return self.isa

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def state_size(self) -> int:
        """P, the width of h in one direction: proj_size if there is one, else hidden_size."""
        return self.proj_size or self.hidden_size

    @property
    def output_size(self) -> int:
        """O, the width of `output`: both directions side by side."""
        return self.num_directions * self.state_size

    @property
    def weights_path(self) -> Path | None:
        """Where the weights file is, seen from here."""
        return self._folder / self.weights if self.weights else None

    def public(self) -> dict[str, Any]:
        """The fields that decide the code, in order, without those of other cells."""
        foreign = {"lstm": {"nonlinearity"}, "rnn": {"proj_size"}}
        both = {"nonlinearity", "proj_size"}
        return self.model_dump(mode="json", exclude={"weights"} | foreign.get(self.cell, both))

    @field_validator("isa")
    @classmethod
    def _in_order(cls, isa: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """Of a list the order says nothing, and one of a single architecture is that one."""
        if isinstance(isa, str):
            return isa
        if len(set(isa)) < len(isa):
            raise ValueError("each once")
        return tuple(sorted(isa, key=ARCHITECTURES.index)) if len(isa) > 1 else isa[0]

    @model_validator(mode="after")
    def _consistent(self) -> Spec:
        """A Spec made without load() keeps the rules as well."""
        given = {field: getattr(self, field) for field in self.model_fields_set}
        if found := conflicts.find(given):
            raise ValueError("; ".join(f"{c.field}: {c.message}" for c in found))
        return self


def load(source: Spec | str | Path | Mapping[str, Any]) -> Spec:
    """A spec from a file, a dict, or YAML text (a str with a line end or `: ` in it).

    Raises SpecError, which lists every broken rule, one per line.
    """
    if isinstance(source, Spec):
        return source
    if isinstance(source, Mapping):
        return _checked({str(k): v for k, v in source.items()}, "spec", Path(), Document())
    if isinstance(source, str) and ("\n" in source or ": " in source or not source):
        return _parsed(source.encode("utf-8", "surrogatepass"), "spec", Path())
    if not isinstance(source, str | Path):
        raise SpecError(f"spec: a path, YAML text or a dict; got {type(source).__name__}")
    path = Path(source)
    return _parsed(_bytes(path), str(path), path.parent)


def retarget(spec: Spec, target: str) -> Spec:
    """The same network for another target, for all of its processors. Raises SpecError."""
    if target == spec.target:
        return spec
    fields = spec.model_dump(exclude={"isa", "target", "weights"}, exclude_defaults=True)
    other = load(fields | {"target": target})
    other = other.model_copy(update={"weights": spec.weights})
    other._folder = spec._folder
    return other


def schema() -> dict[str, Any]:
    """The JSON Schema of a spec, in words that draft 7 and later drafts share."""
    out = Spec.model_json_schema()
    del out["description"]  # the class docstring, which speaks of Python
    return {"$schema": "http://json-schema.org/draft-07/schema#", **out}


def _bytes(path: Path) -> bytes:
    """At most a byte more than a spec may have."""
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "not a regular file")
        with path.open("rb") as file:
            return file.read(document.MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(f"{path}: RNN001 a readable file; got {reason}") from None


def _parsed(data: bytes, place: str, folder: Path) -> Spec:
    text = document.decode(data)
    if isinstance(text, Problem):
        raise _error(place, [text])
    doc = document.read(text, _LISTS)
    if not doc.whole:
        raise _error(place, doc.problems)
    values = {}
    for name, scalar in doc.values.items():
        value = _read(name, scalar)
        if value is None:
            message = f"{name}: {_rule(name)}; got {show(scalar.text)}"
            doc.problems.append(Problem(scalar.line, scalar.column, "RNN103", message))
        else:
            values[name] = value
    return _checked(values, place, folder, doc)


def _read(name: str, scalar: Scalar) -> Any:
    """A value by the rules of its field, not YAML's; None if it has the wrong kind."""
    if isinstance(scalar.text, list):
        return scalar.text
    kind: object = Spec.model_fields[name].annotation if name in Spec.model_fields else str
    if kind in (int, bool, float) and not scalar.plain:
        return None
    if kind is bool:
        return {"true": True, "false": False}.get(scalar.text)
    if kind is int:
        return int(scalar.text) if _INTEGER.fullmatch(scalar.text) else None
    if kind is float:
        return float(scalar.text) if _NUMBER.fullmatch(scalar.text) else None
    return scalar.text


def _checked(values: dict[str, Any], place: str, folder: Path, doc: Document) -> Spec:
    """Values -> Spec; `doc` knows where each was written and what is wrong already."""
    complaints: list[tuple[str, str, str]] = []
    try:
        spec = Spec.model_validate(values)
    except ValidationError as error:
        for finding in error.errors(include_url=False, include_context=False):
            field = str(finding["loc"][0]) if finding["loc"] else ""
            if field in values or (field and not _excused(field, doc.keys or values)):
                complaints.append((field, *_complaint(field, finding["type"], values.get(field))))
    bad = {field for field, _, _ in complaints}
    sound = {field: value for field, value in values.items() if field not in bad}
    for found in conflicts.find(sound, folder):
        complaints.append((found.field, found.code, f"{found.field}: {found.message}"))
    for field, code, message in complaints:
        doc.problems.append(Problem(*doc.place(field, code), code, message))
    if doc.problems:
        raise _error(place, doc.problems)
    spec._folder = folder
    return spec


def _excused(field: str, given: Mapping[str, Any]) -> bool:
    """A field that is missing, but was given with a wrong value or a misspelt key."""
    strangers = [key for key in given if key not in Spec.model_fields]
    return field in given or field in map(_nearest, strangers)


def _nearest(field: str) -> str | None:
    near = get_close_matches(field, Spec.model_fields, n=1)
    return near[0] if near else None


def _complaint(field: str, kind: str, value: Any) -> tuple[str, str]:
    """Code and message for one of pydantic's findings."""
    if kind == "extra_forbidden":
        near = _nearest(field)
        hint = f"; did you mean '{near}'?" if near else ""
        return "RNN101", f"{show(field)[1:-1]}: not a field of a spec{hint}"
    if kind == "missing":
        return "RNN102", f"{field}: {_rule(field)}; it is missing"
    if kind == "string_pattern_mismatch":
        return "RNN105", f"{field}: {_rule(field)}; got {show(value)}"
    code = "RNN103" if kind.endswith("_type") else "RNN104"
    return code, f"{field}: {_rule(field)}; got {show(value)}"


def _rule(field: str) -> str:
    return Spec.model_fields[field].description or ""


def _error(place: str, problems: list[Problem]) -> SpecError:
    lines = []
    for p in sorted(set(problems)):
        where = f"{place}:{p.line}:{p.column}" if p.line else place
        lines.append(f"{where}: {p.code} {p.message}")
    return SpecError("\n".join(lines))
