"""Text -> the `field: value` scalars of a spec, each with its place. The only reader of YAML.

Anything in YAML beyond one flat mapping of plain scalars, or of flat lists of them where a field
may be one, is a problem with a code from rules.py.
Events are read one by one, nothing is built from them, and reading ends where it makes no sense.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import yaml

MAX_BYTES = 64 * 1024  # a spec is a dozen lines
MAX_FIELDS = 64  # it has fewer, and each unknown one is compared with all
MAX_ITEMS = 64  # of a list that may be there; the longest has four
MAX_INSIDE = 256  # parts of a list that should not be there; reading on would cost more and more
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # Unicode categories nobody can see


@dataclass(frozen=True, order=True)
class Problem:
    """One broken rule; line and column from 1, or 0 where there is no text."""

    line: int
    column: int
    code: str
    message: str


@dataclass(frozen=True)
class Scalar:
    """One value as written, or a list of them; `plain` if without quotes."""

    text: str | list[str]
    plain: bool
    line: int
    column: int


@dataclass
class Document:
    """The fields of a spec in order, where their keys stand, and all that is wrong so far."""

    lists: Collection[str] = ()  # fields that may be one
    values: dict[str, Scalar] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    whole: bool = False  # the text could be read to its end as one mapping

    def add(self, mark: Any, code: str, message: str) -> None:
        self.problems.append(Problem(mark.line + 1, mark.column + 1, code, message))

    def place(self, name: str, code: str) -> tuple[int, int]:
        """Where to point for a field: at its key if that is unknown (RNN101), else at its value."""
        if name in self.values and code != "RNN101":
            return self.values[name].line, self.values[name].column
        return self.keys.get(name, (1, 1) if self.keys else (0, 0))


def decode(data: bytes) -> str | Problem:
    """UTF-8 bytes of a spec -> text, or why not."""
    if len(data) > MAX_BYTES:
        return Problem(1, 1, "RNN002", "a spec has at most 64 KiB; got more")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return Problem(1, 1, "RNN003", "UTF-8 without a byte order mark; got a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place(data[: error.start].decode("utf-8"))
        return Problem(line, column, "RNN003", f"UTF-8; got byte 0x{data[error.start]:02x}")
    return text


def read(text: str, lists: Collection[str] = ()) -> Document:
    """YAML text -> Document. Never raises; what is wrong is in `problems`.

    Fields of the names `lists` may be a list.
    """
    document = Document(lists=lists)
    for at, character in enumerate(text):
        if character in "\t\n" or (character == "\r" and text[at + 1 : at + 2] == "\n"):
            continue
        if unicodedata.category(character) in _HIDDEN:
            shown = f"U+{ord(character):04X}"
            message = f"no invisible characters; got {shown}"
            document.problems.append(Problem(*_place(text[:at]), "RNN004", message))
            return document
    try:
        _mapping(document, yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or yaml.Mark("", 0, 0, 0, None, 0)
        document.add(mark, "RNN005", f"YAML; {error.problem or error.context}")
    except yaml.YAMLError as error:  # the reader's own refusals carry no mark
        document.problems.append(Problem(1, 1, "RNN005", f"YAML; {str(error).splitlines()[0]}"))
    except _EndlessError:
        pass  # said already
    return document


class _EndlessError(Exception):
    """What is wrong has been said; the rest is not worth reading."""


def _place(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what comes after `before`."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _mapping(document: Document, events: Iterator[Any]) -> None:
    """Read the one mapping of the one document."""
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                document.add(event.start_mark, "RNN010", "one document; got a second one")
                return
        elif isinstance(event, yaml.MappingStartEvent):
            _decorations(document, event)
            _pairs(document, events)
        elif isinstance(event, yaml.NodeEvent):
            _decorations(document, event)
            document.add(
                event.start_mark, "RNN010", f"a list of `field: value`; got {_kind(event)}"
            )
            return
    document.whole = documents == 1
    if not documents:
        document.problems.append(Problem(1, 1, "RNN010", "a list of `field: value`; got nothing"))


def _pairs(document: Document, events: Iterator[Any]) -> None:
    """Keys and values up to the end of the mapping."""
    for key in events:
        if isinstance(key, yaml.MappingEndEvent):
            return
        if len(document.keys) == MAX_FIELDS:
            document.add(key.start_mark, "RNN010", f"at most {MAX_FIELDS} fields; got more")
            raise _EndlessError
        _decorations(document, key)
        if not isinstance(key, yaml.ScalarEvent):
            document.add(key.start_mark, "RNN010", f"a field name; got {_kind(key)}")
            _skip(key, events)
        value = next(events)
        _decorations(document, value)
        if isinstance(key, yaml.ScalarEvent):
            if isinstance(value, yaml.SequenceStartEvent) and key.value in document.lists:
                items: Any = _items(document, key.value, events)
                value = yaml.ScalarEvent(None, None, (True, False), items, value.start_mark)
            _pair(document, key, value)
        _skip(value, events)


def _items(document: Document, name: str, events: Iterator[Any]) -> list[str]:
    """Values up to the end of a list."""
    items: list[str] = []
    for item in events:
        if isinstance(item, yaml.SequenceEndEvent):
            break
        _decorations(document, item)
        if len(items) == MAX_ITEMS:
            document.add(item.start_mark, "RNN010", f"{name}: at most {MAX_ITEMS} values; got more")
            raise _EndlessError
        if not isinstance(item, yaml.ScalarEvent):
            message = f"{name}: a list of single values; got {_kind(item)}"
            document.add(item.start_mark, "RNN010", message)
            raise _EndlessError
        items.append(item.value)
    return items


def _pair(document: Document, key: Any, value: Any) -> None:
    name, mark = key.value, key.start_mark
    if name == "<<":
        document.add(mark, "RNN008", "no merge keys; got '<<'")
    elif name in document.keys:
        first, column = document.keys[name]
        message = f"{name}: given once; got it here and at {first}:{column}"
        document.add(mark, "RNN009", message)
    elif isinstance(value, yaml.ScalarEvent):
        at: Any = value.start_mark
        document.keys[name] = (mark.line + 1, mark.column + 1)
        document.values[name] = Scalar(value.value, value.style is None, at.line + 1, at.column + 1)
    else:
        document.keys[name] = (mark.line + 1, mark.column + 1)
        if not isinstance(value, yaml.AliasEvent):  # an alias has its own problem already
            wanted = "a single value or a list" if name in document.lists else "a single value"
            message = f"{name}: {wanted}; got {_kind(value)}"
            document.add(value.start_mark, "RNN010", message)


def _decorations(document: Document, event: Any) -> None:
    """Refuse what may be written before a value: an anchor, an alias, a tag."""
    if isinstance(event, yaml.AliasEvent):
        document.add(event.start_mark, "RNN006", f"no aliases; got '*{_short(event.anchor)}'")
    elif event.anchor is not None:
        document.add(event.start_mark, "RNN006", f"no anchors; got '&{_short(event.anchor)}'")
    if getattr(event, "tag", None) is not None:
        document.add(event.start_mark, "RNN007", f"no tags; got {_short(event.tag)!r}")


def _skip(event: Any, events: Iterator[Any]) -> None:
    """Read on to the end of a list or mapping that has just begun; its inside has no meaning."""
    if not isinstance(event, yaml.CollectionStartEvent):
        return
    depth = 1
    for inner in islice(events, MAX_INSIDE):
        depth += isinstance(inner, yaml.CollectionStartEvent)
        depth -= isinstance(inner, yaml.CollectionEndEvent)
        if depth == 0:
            return
    raise _EndlessError


def _short(text: Any) -> str:
    return str(text)[:40]


def _kind(event: Any) -> str:
    if isinstance(event, yaml.SequenceStartEvent):
        return "a list"
    if isinstance(event, yaml.MappingStartEvent):
        return "a nested mapping"
    return "an alias" if isinstance(event, yaml.AliasEvent) else repr(_short(event.value))
