"""The recurrent cells: what each one sums, and what it carries between steps.

A cell is data. Its equations live in one template, `templates/cells/<template>.j2`, which every
target shares; its arbiter is the torch.nn class of the same name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sum:
    """One accumulator: the rows of `gate` in W x, in U h, or in both, plus their biases."""

    name: str
    gate: str
    reads: str  # "x", "h" or "xh"


@dataclass(frozen=True)
class Cell:
    """One recurrent cell, in torch's gate order."""

    torch: str  # torch.nn class
    gates: tuple[str, ...]  # row blocks of weight_ih and weight_hh, top to bottom
    states: tuple[str, ...]  # carried from step to step, h first
    own: tuple[str, ...]  # states of which a unit reads its own old value outside the products
    words: tuple[str, ...]  # vsigmoid and its like, that the equations speak
    split: tuple[str, ...] = ()  # gates that need W x and U h apart

    @property
    def template(self) -> str:
        return f"cells/{self.torch.lower()}.j2"

    @property
    def sums(self) -> tuple[Sum, ...]:
        """Accumulators of one hidden unit: those of W x alone, of both, of U h alone."""
        alone = [Sum(g, g, "x") for g in self.split]
        both = [Sum(g, g, "xh") for g in self.gates if g not in self.split]
        return (*alone, *both, *(Sum(f"{g}_h", g, "h") for g in self.split))


WORDS = ("sigmoid", "tanh", "fma")
LSTM = Cell("LSTM", ("i", "f", "g", "o"), ("h", "c"), own=("c",), words=WORDS)
GRU = Cell("GRU", ("r", "z", "n"), ("h",), own=("h",), words=WORDS, split=("n",))
RNN = {
    word: Cell("RNN", gates=("a",), states=("h",), own=(), words=(word,))
    for word in ("tanh", "relu")
}


def cell(name: str, nonlinearity: str) -> Cell:
    """The cell that a spec's `cell` and `nonlinearity` name."""
    return {"lstm": LSTM, "gru": GRU, "rnn": RNN[nonlinearity]}[name]
