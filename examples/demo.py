"""What does glowplug do, in two minutes? `make demo`: two real models, served here, put to sleep and woken up again.

Everything happens in a folder of its own, which is removed at the end. The exit status is 0 only if every answer was
right, both models went to sleep and woke up, and nothing was left running.
"""

import gzip
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

HERE = Path(__file__).resolve().parent
CALL_SECONDS_MAX = 120
SLEEP_SECONDS_MAX = 60
END_SECONDS_MAX = 10  # a process that is importing torch notices only afterwards that it is to end
IDLE = "4s"  # how long a model stays awake in this demo
TOLERANCE = 0.01

# What the original implementation (sentence-transformers) gives for these three.
SENTENCES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
SIMILARITIES = {(0, 1): 0.6660, (0, 2): 0.1046, (1, 2): 0.1411}


class WrongError(Exception):
    """Something came out otherwise than it must."""


@dataclass(frozen=True)
class Place:
    """The router of this demo."""

    home: Path
    env: dict[str, str]
    url: str = ""
    key: str = ""

    def run(self, *words: str) -> None:
        """Run a command line as a person would, its output shown."""
        say(f"$ glowplug {' '.join(words)}")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "glowplug", *words], env=self.env, check=False
        )
        if done.returncode != 0:
            raise WrongError(f"`glowplug {' '.join(words)}` ended with status {done.returncode}")

    def post(self, path: str, body: bytes, content_type: str) -> tuple[object, dict[str, str]]:
        """Call an endpoint with nothing but the standard library; return the answer and its headers."""
        headers = {"authorization": f"Bearer {self.key}", "content-type": content_type}
        answer, names = self.open(urllib.request.Request(f"{self.url}{path}", body, headers))
        return json.loads(answer), names

    def replicas(self, app: str) -> int:
        """Return how many replicas an app has, in whatever state."""
        headers = {"authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(f"{self.url}/-/api/apps/{app}", headers=headers)
        return count_replicas(json.loads(self.open(request)[0]))

    def open(self, request: urllib.request.Request) -> tuple[bytes, dict[str, str]]:
        """Send a request; a refusal becomes an error with what the router says about it."""
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as answer:
                names = {name.lower(): value for name, value in answer.headers.items()}
                return answer.read(), names
        except HTTPError as error:
            said = error.read().decode(errors="replace")
            raise WrongError(f"{request.full_url} answered {error.code}: {said}") from error


def main() -> int:
    """Run the demo; return the exit status."""
    begun = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="glowplug-demo-"))
    place = Place(home, {**os.environ, "GLOWPLUG_HOME": str(home)})
    try:
        place = started(place)
        show(place)
        status = 0
    except (WrongError, OSError, subprocess.SubprocessError) as error:
        say(f"✗ {error}")
        status = 1
    finally:
        left = stopped(place)
    if left:
        say(f"✗ still running after `glowplug down`: {left}")
        status = 1
    say(f"{'✓ all right' if status == 0 else '✗ failed'}, {time.monotonic() - begun:.0f} s")
    return status


def show(place: Place) -> None:
    heading("Two models go into service")
    place.run("deploy", str(HERE / "file_type/app.py"), "-m", "demo")
    place.run("deploy", str(HERE / "embeddings/app.py"), "-m", "demo")
    heading("What kind of file is this? (POST /file-type/identify, the file as the body)")
    identify(place)
    heading("How alike are these sentences? (POST /embeddings/embed)")
    compare(place)
    heading(f"Nobody calls: after {IDLE} nothing runs")
    for app, name in (("file-type", "identify"), ("embeddings", "embed")):
        place.run("scale", f"{app}/{name}", "--zero-after", IDLE)
    wait_for_zero(place, ("file-type", "embeddings"))
    heading("The next call wakes them")
    wake(place)


def started(place: Place) -> Place:
    heading("A router and a node on this machine")
    place.run("up", "--detach", "--port", "0")
    profiles = json.loads((place.home / "profiles.json").read_text())
    local = profiles["profiles"][profiles["current"]]
    return Place(place.home, place.env, local["url"], local["key"])


def identify(place: Place) -> None:
    rows = []
    wrong = []
    for expected, data in sample_files().items():
        answer, headers = place.post("/file-type/identify", data, "application/octet-stream")
        assert isinstance(answer, dict)
        rows.append(
            (
                expected,
                f"{len(data):,} B",
                answer["label"],
                answer["mime_type"],
                f"{answer['score']:.2f}",
                run_ms(headers),
            )
        )
        if answer["label"] != expected:
            wrong.append(f"{expected} was taken for {answer['label']}")
    table(("file", "size", "answer", "media type", "score", "run"), rows)
    if wrong:
        raise WrongError("; ".join(wrong))


def compare(place: Place) -> None:
    body = json.dumps({"sentences": SENTENCES}).encode()
    vectors, _ = place.post("/embeddings/embed", body, "application/json")
    assert isinstance(vectors, list)
    pairs = {(a, b): dot(vectors[a], vectors[b]) for a, b in SIMILARITIES}
    table(
        ("one", "other", "similarity", "expected"),
        [
            (SENTENCES[a], SENTENCES[b], f"{found:.4f}", f"{SIMILARITIES[a, b]:.4f}")
            for (a, b), found in pairs.items()
        ],
    )
    lengths = [dot(vector, vector) for vector in vectors]
    if any(abs(found - SIMILARITIES[pair]) > TOLERANCE for pair, found in pairs.items()):
        raise WrongError("a similarity is not what the original implementation gives")
    if any(abs(length - 1) > TOLERANCE for length in lengths):
        raise WrongError(f"a sentence is not like itself: {lengths}")


def wait_for_zero(place: Place, apps: Sequence[str]) -> None:
    begun = time.monotonic()
    while running := {app: count for app in apps if (count := place.replicas(app))}:
        if time.monotonic() - begun > SLEEP_SECONDS_MAX:
            raise WrongError(f"after {SLEEP_SECONDS_MAX} s there still are replicas: {running}")
        time.sleep(0.25)
    say(f"  no replica after {time.monotonic() - begun:.1f} s")


def wake(place: Place) -> None:
    calls: tuple[tuple[str, str, Callable[[], tuple[object, dict[str, str]]]], ...] = (
        (
            "file-type/identify",
            "python",
            lambda: place.post(
                "/file-type/identify", Path(__file__).read_bytes(), "application/octet-stream"
            ),
        ),
        (
            "embeddings/embed",
            "",
            lambda: place.post(
                "/embeddings/embed", b'{"sentences": ["Awake again."]}', "application/json"
            ),
        ),
    )
    rows = []
    for name, label, call in calls:
        begun = time.monotonic()
        answer, headers = call()
        seconds = time.monotonic() - begun
        rows.append((name, f"{seconds:.2f} s", headers.get("glowplug-cold", "0"), phases(headers)))
        if label and (not isinstance(answer, dict) or answer["label"] != label):
            raise WrongError(f"{name} answered {answer} after waking up")
        if headers.get("glowplug-cold") != "1":
            raise WrongError(f"{name} did not say that this was a cold start")
    table(("endpoint", "answered in", "cold", "phases in ms"), rows)


def stopped(place: Place) -> list[str]:
    heading("Everything stops")
    try:
        place.run("down")
    except (WrongError, OSError) as error:
        say(f"✗ {error}")
    begun = time.monotonic()
    while (left := processes_of(place.home)) and time.monotonic() - begun < END_SECONDS_MAX:
        time.sleep(0.1)
    shutil.rmtree(place.home, ignore_errors=True)
    return left


def processes_of(home: Path) -> list[str]:
    """Return what still runs with this demo's home in its environment (Linux; elsewhere nothing can be seen)."""
    mark = f"GLOWPLUG_HOME={home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = folder.name != str(os.getpid()) and mark in (
                folder / "environ"
            ).read_bytes().split(b"\0")
            if ours:
                found.append(
                    f"{folder.name} {(folder / 'cmdline').read_bytes().replace(bytes(1), b' ').decode().strip()}"
                )
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def sample_files() -> dict[str, bytes]:
    """Return the bytes of real files by the label that each must get."""
    text = "glowplug keeps what is idle asleep and wakes it when it is called.\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("notes/one.txt", text * 20)
        file.writestr("notes/two.txt", text * 30)
    document = {
        "name": "glowplug",
        "kinds": ["function", "class"],
        "limits": {"body": 104857600, "hold": 100},
        "auth": True,
    }
    return {
        "png": png(32, 32),
        "pdf": pdf(),
        "python": Path(__file__).read_bytes(),
        "json": json.dumps(document, indent=2).encode(),
        "zip": archive.getvalue(),
        "elf" if sys.platform == "linux" else "macho": Path(sys.executable).read_bytes()[: 1 << 20],
        "gzip": gzip.compress(text.encode() * 50),
        "markdown": (HERE / "file_type/README.md").read_bytes(),
    }


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + bytes((x * y) % 256 for x in range(width * 3)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def pdf() -> bytes:
    bodies = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
    )
    out = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(bodies, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    table_at = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(bodies) + 1, rows)
    return out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(bodies) + 1,
        table_at,
    )


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def count_replicas(app: dict[str, object]) -> int:
    endpoints = app["endpoints"]
    assert isinstance(endpoints, list)
    versions = [version for endpoint in endpoints for version in endpoint["versions"]]
    return sum(len(version["replicas"]) for version in versions)


def phases(headers: dict[str, str]) -> str:
    """Return "fork 8 · load 120" of "fork;dur=8.1, load;dur=120.4"."""
    parts = [part.strip().split(";dur=") for part in headers.get("server-timing", "").split(",")]
    return " · ".join(f"{part[0]} {float(part[1]):.0f}" for part in parts if len(part) == 2)


def run_ms(headers: dict[str, str]) -> str:
    return (
        next(
            (part for part in phases(headers).split(" · ") if part.startswith("run")), ""
        ).removeprefix("run ")
        + " ms"
    )


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (names, *rows)) for column in range(len(names))]
    for row in (names, tuple("─" * width for width in widths), *rows):
        say(
            "  "
            + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def heading(text: str) -> None:
    say(f"\n── {text} " + "─" * max(0, 90 - len(text)))


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
