"""Whose certificate does a client accept? Those of the system's authorities, and of the one that a profile names."""

from typing import TYPE_CHECKING

from glowplug.errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext


def verifier(url: str, ca: str = "") -> "bool | SSLContext":
    """Return how an HTTP client checks the router at `url`; plain HTTP needs no certificates read, which costs 50 ms.

    Args:
        url: the router's.
        ca: a file of certificates to trust besides the system's: the authority that `glowplug up --tls` made, or a
            certificate itself.
    """
    if url.startswith("http://"):
        return False
    if not ca:
        return True
    import ssl  # lazily: only those who need it pay for it

    context = ssl.create_default_context()
    context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # a file may hold the router's own one, and no authority
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificates of {url} cannot be read from {ca}: {error}",
            hint="`glowplug up --tls` makes them; `glowplug profile add NAME URL --ca FILE` names another file",
        ) from error
    return context
