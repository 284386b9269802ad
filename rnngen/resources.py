"""The text files that come with the package."""

from importlib import resources


def text(name: str) -> str:
    """`reserved.txt` or `rnngen.schema.json`, as shipped."""
    return resources.files("rnngen").joinpath(name).read_text("utf-8")
