"""What can be typed after `glowplug`? The list of verbs; each is loaded only when it is used."""

import difflib
import importlib
import sys
from typing import NamedTuple

import click


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
        "run": Verb(f"{_HERE}.run", "", "Call an endpoint of a file in this process, without a server."),
        "up": Verb(_ROUTER, "local", "Start the router and a node on this machine."),
        "down": Verb(_ROUTER, "local", "Stop what `up` started."),
    },
    "Deploy": {
        "deploy": Verb(_PACKAGER, "packager", "Build a file's endpoints and put them into service."),
        "history": Verb(f"{_HERE}.apps", "", "Show the deployments of an app."),
        "rollback": Verb(f"{_HERE}.apps", "", "Go back to an earlier deployment."),
        "stop": Verb(f"{_HERE}.apps", "", "Take an app out of service."),
        "scale": Verb(f"{_HERE}.apps", "", "Change how many replicas an endpoint may have; restarts nothing."),
    },
    "Use": {
        "call": Verb(f"{_HERE}.call", "", "Call a deployed endpoint."),
        "status": Verb(f"{_HERE}.status", "", "Show what runs, and why."),
        "logs": Verb(f"{_HERE}.logs", "", "Show what endpoints printed, or everything about one request."),
    },
    "Set up": {
        "keys": Verb(f"{_HERE}.access", "", "Make, list and revoke API keys."),
        "secrets": Verb(f"{_HERE}.access", "", "Set, list and remove secrets."),
        "profile": Verb(f"{_HERE}.profile", "", "Name the routers you work with."),
        "doctor": Verb(f"{_HERE}.doctor", "", "Check this machine and say what to mend."),
    },
}
VERBS = {name: verb for section in SECTIONS.values() for name, verb in section.items()}


class Verbs(click.Group):
    """A click group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one verb's module."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        try:
            module = importlib.import_module(verb.module)
        except ModuleNotFoundError as error:
            extra = verb.extra or "local"
            raise click.ClickException(
                f"`glowplug {cmd_name}` needs the module {error.name}, which is not installed\n"
                f"  pip install 'glowplug[{extra}]'"
            ) from error
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command), cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest what a mistyped verb may have meant."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=3, cutoff=0.5)
            meant = f"\n  did you mean {', '.join(f'`{one}`' for one in near)}?" if near else "\n  `glowplug --help` lists the verbs"
            raise click.UsageError(f"there is no verb `{args[0]}`{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs by section, from the table alone."""
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, verb.summary) for name, verb in verbs.items()])


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's signature
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"glowplug {version('glowplug')}")
        ctx.exit()


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Serve Python functions as model endpoints, here or in your own cloud.

    Begin with `glowplug init hello && cd hello && glowplug dev app.py`.
    """


def main() -> None:
    """Run the command line."""
    cli(prog_name="glowplug")


if __name__ == "__main__":
    sys.exit(main())
