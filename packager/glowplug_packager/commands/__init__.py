"""How do people build and deploy from a terminal?"""

from glowplug_packager.commands.deploy import deploy
from glowplug_packager.commands.dev import dev

__all__ = ["deploy", "dev"]
