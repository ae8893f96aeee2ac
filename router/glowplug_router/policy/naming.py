"""What is a replica called?"""

NAME_MAX = (
    24  # letters of the endpoint in a replica's id: ids become socket paths, which end at 107 bytes
)
_SERIAL_BITS = 24  # starts in one epoch that ids can tell apart: one a second for half a year
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u to misread


def replica_id(version: str, epoch: int, serial: int) -> str:
    """Return "hello-3-1g00004": unique for ever, since no two controllers share an epoch."""
    endpoint, _, number = version.rpartition("/")[2].partition("@")
    digits, rest = "", (epoch << _SERIAL_BITS) | serial
    while rest:
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return f"{endpoint[:NAME_MAX]}-{number}-{digits}"
