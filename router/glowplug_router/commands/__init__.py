"""How is a router started and stopped from a terminal?"""

from glowplug_router.commands.lifecycle import down, up

__all__ = ["down", "up"]
