"""How is a release published without a router? Into a folder: for tests, and for carrying it over by hand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from glowplug.artifact import Release
from glowplug.errors import CallError, call_error
from glowplug_packager.digest import digest_bytes, digest_hex
from glowplug_packager.ports import OnUpload, Step


@dataclass(frozen=True, slots=True)
class DirectoryPublisher:
    """Keeps blobs and releases as files: `blobs/<hex>`, `releases/<app>/<generation>.json`."""

    folder: Path

    def upload(self, layers: Mapping[str, Path], on_upload: OnUpload) -> tuple[str, ...]:
        """Copy the layers that are not there, if their bytes are what their digest says."""
        missing = tuple(digest for digest in sorted(layers) if not self._blob(digest).exists())
        for digest in missing:
            data = layers[digest].read_bytes()
            if digest_bytes(data) != digest:
                raise _refused(
                    "digest_mismatch", f"{layers[digest]} does not have the digest {digest}"
                )
            self._blob(digest).parent.mkdir(parents=True, exist_ok=True)
            self._blob(digest).write_bytes(data)
            on_upload(digest, len(data), len(data))
        return missing

    def deploy(self, release: Release) -> Iterator[Step]:
        """Write the release down as the app's next generation."""
        absent = [
            layer.digest
            for _, bundle in release.bundles
            for layer in bundle.layers
            if not self._blob(layer.digest).exists()
        ]
        if absent:
            yield {
                "step": "failed",
                "code": "deploy_failed",
                "detail": f"{absent[0]} was never uploaded",
            }
            return
        yield {"step": "layers", "state": "done"}
        folder = self.folder / "releases" / release.app
        folder.mkdir(parents=True, exist_ok=True)
        generation = len(list(folder.iterdir())) + 1
        (folder / f"{generation}.json").write_bytes(msgspec.json.encode(release))
        yield {"step": "done", "state": "done", "generation": generation}

    def _blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest_hex(digest)


def _refused(code: str, message: str) -> CallError:
    return call_error(code, message, executed="no")
