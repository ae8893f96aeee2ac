"""Where does a test get a certificate from? From the openssl on PATH: a committed key would look like a leak."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """PEM files; the certificate is its own authority."""

    certificate: Path
    key: Path


def certificate_for(folder: Path, name: str = "localhost") -> Certificate:
    """Make one for this machine, good for a day."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
        f"-subj /CN={name} -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    ).split()
    subprocess.run(
        [*command, "-keyout", str(made.key), "-out", str(made.certificate)],
        check=True,
        capture_output=True,
    )
    return made
