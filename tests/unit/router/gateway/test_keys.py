from glowplug.clock import SECOND, ManualClock
from glowplug_router.gateway.keys import VERDICTS_MAX, Keyring
from glowplug_router.keys import make_key
from glowplug_router.records.published import RouteKey

PEPPER = "ab" * 32


def made(*scopes: str, expires_wall_ns: int = 0) -> tuple[RouteKey, bytes]:
    key, token = make_key(
        pepper_hex=PEPPER, tenant="ten", scopes=scopes, wall_ns=0, expires_wall_ns=expires_wall_ns
    )
    route = RouteKey(
        id=key.id,
        mac=key.mac,
        tenant=key.tenant,
        scopes=key.scopes,
        expires_wall_ns=expires_wall_ns,
    )
    return route, f"Bearer {token}".encode()


def test_a_good_key_grants_its_tenant_and_scopes() -> None:
    key, header = made("invoke:app/*")
    ring = Keyring(ManualClock())
    ring.load([key], PEPPER)
    grant = ring.check(header)

    assert grant is not None
    assert (grant.tenant, grant.may_invoke("app/a"), grant.may_invoke("other/a")) == (
        "ten",
        True,
        False,
    )
    assert ring.check(header) is grant  # remembered


def test_anything_else_grants_nothing() -> None:
    key, header = made("admin")
    ring = Keyring(ManualClock())
    ring.load([key], PEPPER)

    for wrong in (
        None,
        b"",
        header[:-1],
        header + b"x",
        header.replace(b"Bearer", b"Basic"),
        b"Bearer \xff",
    ):
        assert ring.check(wrong) is None


def test_an_expired_key_stops_working_though_it_was_checked_before() -> None:
    clock = ManualClock()
    key, header = made("admin", expires_wall_ns=clock.wall_ns() + SECOND)
    ring = Keyring(clock)
    ring.load([key], PEPPER)

    assert ring.check(header) is not None
    clock.advance(SECOND)
    assert ring.check(header) is None


def test_a_snapshot_drops_what_was_checked() -> None:
    key, header = made("admin")
    ring = Keyring(ManualClock())
    ring.load([key], PEPPER)
    assert ring.check(header) is not None
    ring.load([], PEPPER)

    assert ring.check(header) is None


def test_guessing_fills_no_memory() -> None:
    ring = Keyring(ManualClock())
    ring.load([made("admin")[0]], PEPPER)
    for n in range(VERDICTS_MAX + 10):
        ring.check(b"Bearer gp_%d" % n)

    assert not ring._verdicts
