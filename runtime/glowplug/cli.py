"""What can be typed after `glowplug`? The list of verbs; each is loaded only when it is used."""

import importlib
import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click

from glowplug.suggest import near

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class Verb(NamedTuple):
    """One verb: where its code is, which extra it needs, and what it does."""

    module: str
    extra: str
    summary: str


_ROUTER = "glowplug_router.commands"
_PACKAGER = "glowplug_packager.commands"
_HERE = "glowplug.commands"

# Names, not imports: packages meet here as text, so that `--help` loads none of them.
SECTIONS: dict[str, dict[str, Verb]] = {
    "Start": {
        "init": Verb(f"{_HERE}.start", "", "Make a folder with a first endpoint in it."),
        "dev": Verb(_PACKAGER, "local", "Serve a file here and reload it on every save."),
        "run": Verb(f"{_HERE}.run", "", "Call an endpoint of a file, without a server."),
        "up": Verb(f"{_ROUTER}.lifecycle", "local", "Start the router and a node on this machine."),
        "down": Verb(f"{_ROUTER}.lifecycle", "local", "Stop what `up` started."),
    },
    "Deploy": {
        "deploy": Verb(
            _PACKAGER, "packager", "Build a file's endpoints and put them into service."
        ),
        "history": Verb(f"{_HERE}.apps", "", "Show the deployments of an app."),
        "rollback": Verb(f"{_HERE}.apps", "", "Go back to an earlier deployment."),
        "stop": Verb(f"{_HERE}.apps", "", "Take an app out of service."),
        "scale": Verb(
            f"{_HERE}.apps", "", "Change how many replicas there may be; restarts nothing."
        ),
        "simulate": Verb(
            f"{_ROUTER}.simulate", "simulate", "Replay traffic under another scale, and compare."
        ),
        "preheat": Verb(f"{_HERE}.wishes", "", "Keep replicas ready for a while."),
    },
    "Use": {
        "call": Verb(f"{_HERE}.call", "", "Call a deployed endpoint."),
        "status": Verb(f"{_HERE}.status", "", "Show what runs, and why."),
        "why": Verb(f"{_HERE}.why", "", "Say why an endpoint has the replicas it has."),
        "logs": Verb(f"{_HERE}.logs", "", "Show what endpoints printed, or all about one request."),
    },
    "Set up": {
        "keys": Verb(f"{_HERE}.access", "", "Make, list and revoke API keys."),
        "secrets": Verb(f"{_HERE}.access", "", "Set, list and remove secrets."),
        "profile": Verb(f"{_HERE}.profile", "", "Name the routers you work with."),
        "doctor": Verb(f"{_HERE}.doctor", "", "Check this machine and say what to mend."),
    },
}
VERBS = {name: verb for section in SECTIONS.values() for name, verb in section.items()}


class MissingExtraError(click.ClickException):
    """A verb's packages are not installed."""

    def __init__(self, word: str, verb: Verb, module: str) -> None:
        super().__init__(f"`glowplug {word}` needs the module {module}, which is not installed")
        self.hint = f"pip install 'glowplug[{verb.extra or 'local'}]'"

    def format_message(self) -> str:
        """Return the message with the command that mends it."""
        return f"{self.message}\n  {self.hint}"


class Verbs(click.Group):
    """A click group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one verb's module."""
        verb = VERBS.get(cmd_name)
        return None if verb is None else load(cmd_name, verb)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest what a mistyped verb may have meant."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            found = [f"`{name}`" for name in near(args[0], VERBS, cutoff=0.5)]
            meant = f"did you mean {', '.join(found)}?" if found else "`glowplug --help` lists them"
            raise click.UsageError(f"there is no verb `{args[0]}`\n  {meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs by section, from the table alone."""
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, verb.summary) for name, verb in verbs.items()])


def load(word: str, verb: Verb) -> click.Command:
    """Import a verb's module and return its command.

    Raises:
        MissingExtraError: The module needs something that is not installed.
    """
    try:
        module = importlib.import_module(verb.module)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("glowplug"):
            raise  # a part of ours: no extra brings it
        raise MissingExtraError(word, verb, error.name or verb.module) from error
    command = getattr(module, word)
    assert isinstance(command, click.Command), word
    return command


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"glowplug {version('glowplug')}")
        ctx.exit()


@click.command(
    cls=Verbs, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version.",
)
def cli() -> None:
    """Serve Python functions as model endpoints, here or in your own cloud.

    Begin with `glowplug init hello && cd hello && glowplug dev app.py`.
    """


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; with --json even a mistyped one is answered with one JSON document."""
    words = list(sys.argv[1:] if words is None else words)
    try:
        sys.exit(cli.main(words or ["--help"], prog_name="glowplug", standalone_mode=False) or 0)
    except click.ClickException as error:
        if "--json" in words:
            click.echo(json.dumps({"error": _record(error)}, ensure_ascii=False))
        else:
            _show(error)
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _show(error: click.ClickException) -> None:
    """Print a usage error as all our errors are: `error:` in lower case, then how to go on."""
    message, _, hint = error.format_message().partition("\n  ")
    if isinstance(error, click.UsageError):
        if error.ctx is not None:
            click.echo(error.ctx.get_usage(), err=True)
        hint = _record(error)["hint"]
    click.echo(f"error: {message}\n  {hint}" if hint else f"error: {message}", err=True)


def _record(error: click.ClickException) -> dict[str, str]:
    message, _, hint = error.format_message().partition("\n  ")
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "glowplug"
        return {
            "code": "usage",
            "message": message,
            "hint": hint or f"`{path} --help` says what it takes",
        }
    return {"code": "not_installed", "message": message, "hint": hint}


if __name__ == "__main__":
    main()
