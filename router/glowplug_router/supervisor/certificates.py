"""Which certificate does `glowplug up --tls` show? One that it makes, of an authority that it makes, kept in its home.

The authority is made once and kept for ten years, so that clients which trust it need not be told again; certificates
are made anew when the names change or a month before they end. Keys are readable by their owner alone.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from glowplug.clock import SECOND
from glowplug.errors import ConfigError
from glowplug.files import replace_file
from glowplug_router.settings import Tls, UpSettings

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LOOPBACK = ("localhost", "127.0.0.1", "::1")
CERTIFICATE_DAYS = 397  # browsers take no longer ones
AUTHORITY_DAYS = 3650
RENEW_DAYS = 30
_ANY = frozenset({"*", "0.0.0.0", "::"})  # noqa: S104  # compared, not bound
BACKDATED = timedelta(hours=1)  # clocks of clients may be behind ours


def with_certificate(settings: UpSettings, wall_ns: int) -> UpSettings:
    """Return the settings with the files of a certificate that is there and can be used.

    Raises:
        ConfigError: It cannot be made or read.
    """
    if settings.tls is None:
        return settings
    tls = settings.tls
    if tls.cert:
        # One of somebody's own may be of an authority that the system does not know: it vouches for itself.
        tls = replace(tls, ca=tls.cert)
        _check(tls)
        return replace(settings, tls=tls)
    tls = _own(settings.home.router / "tls", names_of(settings), wall_ns)
    _check(tls)
    return replace(settings, tls=tls)


def names_of(settings: UpSettings) -> tuple[str, ...]:
    """Return what a router may be called: loopback's names, the address it listens on, and those it was given."""
    given = [settings.host, *(_without_port(one) for one in settings.hosts)]
    named = [one.strip("[]").rstrip(".").lower() for one in given]
    return tuple(dict.fromkeys((*LOOPBACK, *(one for one in named if one not in _ANY))))


def _without_port(host: str) -> str:
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _check(tls: Tls) -> None:
    import ssl

    try:
        # The password is for encrypted keys, which a daemon could ask nobody for: it must not wait at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificate {tls.cert} with the key {tls.key} cannot be used: {error}",
            hint="both must be PEM, the key without a password and the certificate's own;"
            " `glowplug up --tls` makes a pair that works",
        ) from error


def _own(folder: Path, names: tuple[str, ...], wall_ns: int) -> Tls:
    """Return the home's own certificate, made or made anew if need be."""
    now = datetime.fromtimestamp(wall_ns / SECOND, UTC)
    tls = Tls(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"), ca=str(folder / "ca.pem"))
    try:
        if not _is_good(Path(tls.cert), names, now) or not Path(tls.ca).exists():
            _make(folder, names, now)
    except ImportError as error:
        raise ConfigError(
            "`--tls` makes certificates with the package cryptography, which is not installed",
            hint="pip install 'glowplug[tls]'; or bring your own: `--tls-cert FILE --tls-key FILE`",
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the certificates in {folder} cannot be made or read: {error}",
            hint=f"move them away, and new ones are made: mv {folder} {folder}.old",
        ) from error
    return tls


def _is_good(file: Path, names: Iterable[str], now: datetime) -> bool:
    from cryptography import x509

    if not file.exists():
        return False
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {
        *found.get_values_for_type(x509.DNSName),
        *(str(one) for one in found.get_values_for_type(x509.IPAddress)),
    }
    left = certificate.not_valid_after_utc - now
    return known == set(names) and left > timedelta(days=RENEW_DAYS)


def _make(folder: Path, names: Iterable[str], now: datetime) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key, authority = _authority(folder, now)
    key = ec.generate_private_key(ec.SECP256R1())
    # Key first: a gateway that looks between the two finds a pair that does not fit, and keeps the one it has.
    replace_file(folder / "key.pem", _pem(key))
    made = _certificate(key, names, authority_key, authority, now)
    replace_file(folder / "cert.pem", _pem_of(made) + _pem_of(authority))


def _authority(folder: Path, now: datetime) -> "tuple[EllipticCurvePrivateKey, x509.Certificate]":
    """Return the home's authority; it is made when there is none, or it ends before what it would sign."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key_file, file = folder / "ca.key", folder / "ca.pem"
    if key_file.exists() and file.exists():
        key = load_pem_private_key(key_file.read_bytes(), None)
        authority = x509.load_pem_x509_certificate(file.read_bytes())
        ends = authority.not_valid_after_utc
        if isinstance(key, ec.EllipticCurvePrivateKey) and ends - now > timedelta(
            days=CERTIFICATE_DAYS
        ):
            return key, authority
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _self_signed(key, now)
    replace_file(key_file, _pem(key))
    replace_file(file, _pem_of(authority))
    return key, authority


def _self_signed(key: "EllipticCurvePrivateKey", now: datetime) -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    name = _name(f"glowplug authority, made {now:%Y-%m-%d}")
    public = key.public_key()
    return (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, SHA256())
    )


def _certificate(
    key: "EllipticCurvePrivateKey",
    names: Iterable[str],
    authority_key: "EllipticCurvePrivateKey",
    authority: "x509.Certificate",
    now: datetime,
) -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID

    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    public = key.public_key()
    return (
        x509.CertificateBuilder(
            authority.subject, _name("glowplug router"), public, x509.random_serial_number()
        )
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(
            x509.SubjectAlternativeName([_general(one) for one in names]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(signer, critical=False)
        .sign(authority_key, SHA256())
    )


def _general(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(text: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def _pem_of(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)
