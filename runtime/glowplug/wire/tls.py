"""Whom do two hosts trust? The TLS contexts for `tls:` addresses; who may speak at all is the gate's business.

The side that listens shows a certificate, and the side that dials checks it against one authority, its own: public
authorities vouch for names on the internet, not for our hosts. Nobody shows a client certificate: the token does that.
No setting makes such an address yet: ranks are reached over their Unix sockets, and these contexts by tests alone.
"""

import ssl
from pathlib import Path

from glowplug.errors import NodeError


def serving(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of a side that listens, from PEM files.

    Raises:
        NodeError: They cannot be read, or do not fit each other.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # an SSLError is one
        raise NodeError(
            f"cannot serve TLS with {certificate} and {key}: {error}",
            hint="both are PEM files, and the key belongs to the first certificate of the chain",
        ) from error
    return context


def trusting(authority: Path) -> ssl.SSLContext:
    """Return the context of a side that dials: it takes certificates of this authority, for the host it dials.

    Raises:
        NodeError: There is no such certificate.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(authority)
    except OSError as error:
        raise NodeError(
            f"cannot trust {authority}: {error}",
            hint="it is a PEM file with the certificate that signed those of our hosts",
        ) from error
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are ours
    return context
