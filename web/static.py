"""Serves our style sheet, scripts and icon under ``/assets/<digest>/``: the digest is of all of them, so none changes.

The style sheet is one file, put together from ``assets/css`` in the order of :data:`SHEETS`.
"""

from hashlib import sha256
from pathlib import Path

import msgspec

from web.answers import File
from web.faults import NotFound

FOLDER = Path(__file__).parent / "assets"
SHEETS = ("tokens", "base", "layout", "table", "form", "parts", "catalogue", "print", "status")
MEDIA = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"


class Assets(msgspec.Struct, frozen=True):
    """The files by name, and the digest in their addresses."""

    digest: str
    files: dict[str, bytes]

    @classmethod
    def read(cls) -> "Assets":
        """Read all files of the folder."""
        files = {"site.css": b"\n".join((FOLDER / "css" / f"{name}.css").read_bytes() for name in SHEETS)}
        files |= {file.name: file.read_bytes() for file in sorted((FOLDER / "js").glob("*.js"))}
        files |= {file.name: file.read_bytes() for file in sorted(FOLDER.glob("*.svg"))}
        digest = sha256()
        for name, content in files.items():
            digest.update(name.encode() + b"\0" + content)
        return cls(digest.hexdigest()[:16], files)

    def href(self, name: str) -> str:
        """Where a file is."""
        assert name in self.files, f"there is no asset {name}; this is a bug"
        return f"/assets/{self.digest}/{name}"

    def find(self, path: str) -> File:
        """The file of an address. Raises ``NotFound``."""
        _, _, digest, name = (*path.split("/", 3), "", "", "")[:4]
        if digest != self.digest or name not in self.files:
            raise NotFound
        return File(body=self.files[name], media=MEDIA[Path(name).suffix], cache=FOREVER)
