"""The command line: arguments in, jobs done, results printed; nothing decided here.

Results go to stdout, progress and errors to stderr. Exit codes: 0 all well, 1 a check failed,
2 the input or the machine would not do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnngen import __version__

app = typer.Typer(
    name="rnngen",
    help="Specialised C and CUDA for recurrent networks, checked against torch.nn.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SpecFile = Annotated[
    Path, typer.Argument(metavar="SPEC", help="A spec, as `rnngen init` writes one.")
]
Out = Annotated[Path | None, typer.Option(help="Where folders are made.", show_default="generated")]
WeightsFile = Annotated[
    Path | None,
    typer.Option("--weights", help="A .safetensors or .pt file instead of the spec's."),
]
Target = Annotated[
    str | None, typer.Option(help="c or cuda instead of the spec's.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print the result for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and verdicts only.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"rnngen {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show Python's traceback of an error.")
    ] = False,
) -> None:
    """Specialised C and CUDA for recurrent networks, checked against torch.nn."""


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("spec.yaml"),
) -> None:
    """Write an example spec with every field, and the schema that editors read."""
    from rnngen import console, jobs

    console.paths(jobs.init(path), as_json=False, quiet=False)


@app.command()
def generate(
    spec: SpecFile,
    out: Out = None,
    weights: WeightsFile = None,
    bake: Annotated[bool, typer.Option("--bake", help="Also write the weights as C.")] = False,
    target: Target = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the C or CUDA of a spec. Needs no compiler."""
    from rnngen import console, jobs

    console.paths(jobs.generate(spec, out, weights, bake, target), json, quiet)


@app.command()
def build(
    spec: SpecFile,
    out: Out = None,
    weights: WeightsFile = None,
    target: Target = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compile a spec into a Python package, and measure its error against torch.nn."""
    from rnngen import console, jobs

    with console.progress(f"building {spec}", quiet):
        result = jobs.make(spec, out, weights, target)
    console.built(result, json, quiet)
    raise typer.Exit(0 if result.report is None or result.report.ok else 1)


@app.command()
def validate(
    spec: SpecFile,
    weights: WeightsFile = None,
    target: Target = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare a spec with torch.nn in float64 over a grid of calls. Exit code 1 if one fails."""
    from rnngen import console, jobs

    with console.progress(f"validating {spec}", quiet):
        report = jobs.check(spec, weights, target)
    console.validated(report, json, quiet)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def bench(
    spec: SpecFile, weights: WeightsFile = None, json: Json = False, quiet: Quiet = False
) -> None:
    """Time a spec beside torch.nn on this machine."""
    from rnngen import bench as bench_
    from rnngen import console, jobs

    with console.progress(f"timing {spec}", quiet):
        rows = bench_.compare(jobs.trial(spec, weights))
    console.timed(rows, json)


@app.command()
def doctor(
    measure: Annotated[
        bool, typer.Option("--measure", help="Time one core, which `bench` then takes as floor.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what this machine can build and do. Exit code 1 if something needed is missing."""
    from rnngen import console
    from rnngen import doctor as doctor_

    with console.progress("measuring one core", quiet=not measure):
        findings = doctor_.examine(measure)
    console.examined(findings, json)
    raise typer.Exit(0 if all(f.ok for f in findings if f.needed) else 1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec."""
    from rnngen.resources import text

    print(text("rnngen.schema.json"), end="")


@app.command()
def rule(code: Annotated[str, typer.Argument(help="As printed: RNN103.")]) -> None:
    """Explain the rule behind the code of a message."""
    from textwrap import fill

    from rnngen.errors import RnngenError
    from rnngen.rules import RULES

    found = RULES.get(code.upper())
    if found is None:
        raise RnngenError(f"rule: a code from {min(RULES)} to {max(RULES)}; got '{code}'")
    print(f"{code.upper()}: {found.title}\n\n{fill(found.why, 80)}")


def main() -> None:
    """Run a command; every error is one message, a traceback only with --debug."""
    from rnngen.errors import RnngenError

    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]  # wherever it stands
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, RnngenError)
        hint = "" if known else f"{type(error).__name__}: "
        print(f"{hint}{error}", file=sys.stderr)
        if not known:
            print("This is a bug in rnngen; --debug shows where.", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, RnngenError) else 2)


if __name__ == "__main__":
    main()
