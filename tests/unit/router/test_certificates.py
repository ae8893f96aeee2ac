from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from glowplug.clock import SECOND
from glowplug.errors import ConfigError
from glowplug.settings import Home
from glowplug_router.settings import Tls, UpSettings
from glowplug_router.supervisor.certificates import names_of, with_certificate

NOW_NS = 1_800_000_000 * SECOND
DAY_NS = 86_400 * SECOND


def made(folder: Path, *hosts: str, wall_ns: int = NOW_NS) -> Tls:
    asked = UpSettings(home=Home(folder), hosts=hosts, tls=Tls())
    found = with_certificate(asked, wall_ns).tls
    assert found is not None
    return found


def certificate(file: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(file).read_bytes())


def test_a_home_has_an_authority_and_a_certificate_of_it_for_all_its_names(tmp_path: Path) -> None:
    tls = made(tmp_path, "router.example.org", "192.0.2.7:8686", "[2001:db8::1]", "*")
    shown, authority = certificate(tls.cert), certificate(tls.ca)
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "router.example.org"}
    assert {str(one) for one in names.get_values_for_type(x509.IPAddress)} == {
        "127.0.0.1",
        "::1",
        "192.0.2.7",
        "2001:db8::1",
    }
    shown.verify_directly_issued_by(authority)
    now = datetime.fromtimestamp(NOW_NS / SECOND, UTC)
    assert shown.not_valid_after_utc - now == timedelta(days=397)
    assert shown.not_valid_before_utc < now


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    made(tmp_path)

    for name in ("key.pem", "ca.key"):
        assert (tmp_path / "router" / "tls" / name).stat().st_mode & 0o777 == 0o600


def test_a_certificate_is_made_anew_a_month_before_it_ends_and_when_the_names_change(
    tmp_path: Path,
) -> None:
    first = Path(made(tmp_path).cert).read_bytes()
    ca = Path(made(tmp_path).ca).read_bytes()

    assert Path(made(tmp_path, wall_ns=NOW_NS + 366 * DAY_NS).cert).read_bytes() == first
    renewed = Path(made(tmp_path, wall_ns=NOW_NS + 367 * DAY_NS).cert).read_bytes()
    assert renewed != first
    named = made(tmp_path, "router.example.org", wall_ns=NOW_NS + 367 * DAY_NS)
    assert Path(named.cert).read_bytes() != renewed
    assert Path(named.ca).read_bytes() == ca


def test_an_authority_that_would_end_before_its_certificate_is_made_anew(tmp_path: Path) -> None:
    ca = Path(made(tmp_path).ca).read_bytes()
    years_later = made(tmp_path, wall_ns=NOW_NS + 3300 * DAY_NS)

    assert Path(years_later.ca).read_bytes() != ca
    certificate(years_later.cert).verify_directly_issued_by(certificate(years_later.ca))


def test_what_cannot_be_used_is_refused_with_the_way_out(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    asked = UpSettings(home=Home(tmp_path))

    for wrong in (Tls(cert=one.cert, key=other.key), Tls(cert=one.cert, key="/nowhere")):
        with pytest.raises(ConfigError, match="cannot be used") as refused:
            with_certificate(replace(asked, tls=wrong), NOW_NS)
        assert "glowplug up --tls" in refused.value.hint

    Path(one.cert).write_text("nonsense")
    with pytest.raises(ConfigError, match="cannot be made or read") as refused:
        made(tmp_path / "one")
    assert "mv " in refused.value.hint


def test_plain_http_needs_no_certificate(tmp_path: Path) -> None:
    asked = UpSettings(home=Home(tmp_path))

    assert with_certificate(asked, NOW_NS) is asked
    assert not (tmp_path / "router").exists()


def test_the_names_are_those_it_may_be_called(tmp_path: Path) -> None:
    asked = UpSettings(host="0.0.0.0", hosts=("Box.Example.:443", "localhost", "*"))

    assert names_of(asked) == ("localhost", "127.0.0.1", "::1", "box.example")
