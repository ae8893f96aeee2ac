"""The smallest endpoint: a typed function. Its signature is the contract, its docstring the description."""

from glowplug import endpoint


@endpoint(examples=[{"name": "world"}])
def greet(name: str, times: int = 1) -> str:
    """Greet someone, as often as you like."""
    return " ".join([f"Hello, {name}!"] * times)
