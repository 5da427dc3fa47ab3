"""Groups of commands that explain wrong names and options in our words."""

import difflib
import re
from typing import Any

import typer
import typer.core

# How the library says that a word is none of those that an option knows.
_NO_CHOICE = re.compile(r"'(?P<word>.*)' is not one of (?P<choices>'.*')\.?")


# The words of other programs for a command.
_ALIASES = {
    "delete": "rm",
    "remove": "rm",
    "destroy": "rm",
    "terminate": "rm",
    "kill": "rm",
    "down": "rm",
    "describe": "show",
    "get": "show",
    "inspect": "show",
    "info": "show",
    "status": "show",
    "list": "ls",
    "ps": "ls",
    "instances": "ls",
    "create": "up",
    "run": "up",
    "order": "up",
    "launch": "up",
    "logs": "events",
    "log": "events",
    "history": "events",
    "prices": "offers",
    "products": "offers",
    "reboot": "restart",
    "resend": "redeliver",
    "retry": "redeliver",
    "connect": "ssh",
    "server": "serve",
    "validate": "check",
}


class CommandGroup(typer.core.TyperGroup):
    """A group of commands that explains wrong names and options in our words."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; a word that other programs have for it is not taken for a near one."""
        word = args[0]
        meant = _ALIASES.get(word)
        if self.get_command(ctx, word) is None and meant in self.list_commands(ctx):
            ctx.fail(f"No such command '{word}'. Did you mean '{meant}'?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _reword(error.message)
            raise


def _reword(message: str) -> str:
    """Return a fault of an option as people say it, with the word that may have been meant."""
    said = message.removeprefix("Value error, ")
    found = _NO_CHOICE.fullmatch(said)
    if found is None:
        return said
    choices = re.findall("'([^']*)'", found["choices"])
    nearest = difflib.get_close_matches(found["word"], choices, n=1)
    return f"{said} Did you mean '{nearest[0]}'?" if nearest else said
