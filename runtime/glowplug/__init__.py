"""What may users import? `from glowplug import endpoint, on, Image, Scale`; each name is loaded on first use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glowplug.arrays import Tensor
    from glowplug.context import Context
    from glowplug.endpoints import Endpoint, endpoint
    from glowplug.errors import GlowplugError
    from glowplug.hooks import on
    from glowplug.image import Image
    from glowplug.lists import END
    from glowplug.options import Batch, Timeouts, Volume
    from glowplug.scaling import Scale, Target, Window

__version__ = "0.1.0"

__all__ = [
    "END",
    "Batch",
    "Context",
    "Endpoint",
    "GlowplugError",
    "Image",
    "Scale",
    "Target",
    "Tensor",
    "Timeouts",
    "Volume",
    "Window",
    "endpoint",
    "on",
]

_HOMES = {
    "END": "glowplug.lists",
    "Batch": "glowplug.options",
    "Context": "glowplug.context",
    "Endpoint": "glowplug.endpoints",
    "GlowplugError": "glowplug.errors",
    "Image": "glowplug.image",
    "Scale": "glowplug.scaling",
    "Target": "glowplug.scaling",
    "Tensor": "glowplug.arrays",
    "Timeouts": "glowplug.options",
    "Volume": "glowplug.options",
    "Window": "glowplug.scaling",
    "endpoint": "glowplug.endpoints",
    "on": "glowplug.hooks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module 'glowplug' has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
