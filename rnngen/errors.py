"""What rnngen refuses, and how it says so: every error is one clear message and an exit code."""


class RnngenError(Exception):
    """Base of all refusals. The message names the place, the rule and the value."""

    exit_code = 2


class SpecError(RnngenError, ValueError):
    """The spec breaks rules; one line each, `place: CODE field: rule; got value`."""


class WeightsError(RnngenError, RuntimeError):
    """The weights are not those of the spec; all that is wrong in one message, in torch's words."""


class BuildError(RnngenError, RuntimeError):
    """The C could not be compiled, stored or loaded."""


class DeviceError(RnngenError, RuntimeError):
    """There is no device that the network can run on, or it refused a call."""


class OutputError(RnngenError):
    """A file could not be written where it was asked for."""


class MissingError(RnngenError, ImportError):
    """A package that only this command needs is not installed."""
