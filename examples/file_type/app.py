"""What kind of file is this? Magika, a small neural network, tells from the bytes alone."""

from dataclasses import dataclass

from magika import Magika

from glowplug import Image, endpoint, on


@dataclass
class FileType:
    """The kind that fits best, and how sure the model is."""

    label: str
    description: str
    mime_type: str
    group: str
    score: float


@endpoint(
    image=Image.python().pip("magika>=1.0.3,<2"),  # the model's weights come with the package
    examples=[
        {"data": b'{\n  "name": "glowplug",\n  "kind": "example",\n  "list": [1, 2, 3]\n}\n'}
    ],
)
class Identify:
    """Name the type of a file."""

    @on.load
    def load(self) -> None:
        self.model = Magika()

    def __call__(self, data: bytes) -> FileType:
        found = self.model.identify_bytes(data)
        kind = found.output
        return FileType(
            str(kind.label), kind.description, kind.mime_type, kind.group, round(found.score, 4)
        )
