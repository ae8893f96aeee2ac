"""What does a family of verbs do when none of them is named? It lists what there is."""

import click


class Listing(click.Group):
    """A group whose `list` may be left out: `glowplug keys --json` is `glowplug keys list --json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` where no verb is."""
        is_for_us = bool(args) and args[0] in ctx.help_option_names
        if not is_for_us and (not args or args[0].startswith("-")):
            args = ["list", *args]
        return super().parse_args(ctx, args)
