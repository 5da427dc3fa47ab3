"""Questions to the person at the terminal, and complaints about options."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from gpukeeper.cli.terminal.output import clean, note

# Options or arguments that are wrong, each with a sentence.
Faults = list[tuple[str, str]]


def raise_faults(faults: Faults) -> None:
    """End with a usage error that tells all faults of a command at once, if there are any."""
    if not faults:
        return
    once = list(dict.fromkeys(faults))
    if len(once) == 1:
        raise typer.BadParameter(once[0][1], param_hint=once[0][0])
    lines = "".join(f"\n  {option}: {message}" for option, message in once)
    raise typer.BadParameter(lines, param_hint=f"{len(once)} options")


def check_consent(*, is_sure: bool) -> None:
    """Refuse what cannot be undone to a script that does not say that it is sure."""
    if not is_sure and not has_person():
        raise typer.BadParameter(
            "Needed where nobody can be asked: what is deleted cannot be brought back.",
            param_hint="--yes",
        )


def has_person() -> bool:
    """Whether a person sits there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> None:
    """Ask for a yes; abort unless that is the answer."""
    with _interruptible():
        typer.confirm(clean(question), abort=True, err=True)


def prompt(question: str, default: str | None = None) -> str:
    """Ask for a text."""
    with _interruptible():
        return str(typer.prompt(question, default=default, err=True)).strip()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C at a question end the program as it does everywhere, and not as a no."""
    try:
        yield
    except typer.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            note("")
            raise KeyboardInterrupt from None
        raise
