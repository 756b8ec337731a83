"""Pictures of datasets: what is accepted, where they lie, how a run gets them.

A picture lies in the storage as datasets/<uid of the version>/images/<name>, as it was uploaded, byte for byte.
Its name is made of its content: the same picture twice is stored once. Rows name it as images/<name>.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.core.files import File
from django.core.files.storage import default_storage
from PIL import Image

from datasets.models import DatasetVersion
from datasets.storage import stream

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# Pillow's name of a format -> the extension of its files. MPO: a JPEG of a phone that carries a second picture.
_KINDS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp"}
CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "bmp": "image/bmp"}
NAME = re.compile(r"[0-9a-f]{16}\.(?:jpg|png|webp|bmp)")

# Qianfan's limit for one picture.
MAX_BYTES = 100 * 1024**2
# 50 megapixels are 150 MB decoded, and more than any trainer looks at.
MAX_PIXELS = 50_000_000
THUMBNAIL_PIXELS = 320

# Pillow's plugins raise all of these on damaged data.
_DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, ArithmeticError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip


class PictureError(Exception):
    """A picture that cannot be used: a kind of datasets.problems.KINDS with its params."""

    def __init__(self, kind: str, **params: Any) -> None:
        super().__init__(kind, params)
        self.kind = kind
        self.params = params


def check(file: IO[bytes]) -> str:
    """Returns the extension that fits the content of a seekable file; raises PictureError.

    The picture is decoded to its end: half a picture would stop a training run hours later.
    """
    if file.seek(0, 2) > MAX_BYTES:
        raise PictureError("picture_too_large", limit=MAX_BYTES // 1024**2)
    file.seek(0)
    try:
        with Image.open(file, formats=[kind for kind in _KINDS if kind != "MPO"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError("picture_too_many_pixels", limit=MAX_PIXELS // 1_000_000)
            kind = image.format or ""
            if kind != "MPO" and getattr(image, "is_animated", False):
                raise PictureError("picture_animated")
            # JPEG can be decoded at an eighth of its size, which reads all of the file in a fraction of the time.
            image.draft("RGB", (image.width // 8 or 1, image.height // 8 or 1))
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("picture_too_many_pixels", limit=MAX_PIXELS // 1_000_000) from error
    except Image.UnidentifiedImageError as error:
        raise PictureError("picture_unknown") from error
    except _DAMAGE as error:
        raise PictureError("picture_broken", detail=str(error)[:100] or type(error).__name__) from error
    return _KINDS[kind]


class Shelf:
    """The stored pictures of a version, while it is imported."""

    def __init__(self, version: DatasetVersion) -> None:
        self.folder = _folder(version)
        self.known = set(_names(self.folder))
        self.used: set[str] = set()

    def put(self, file: IO[bytes]) -> str:
        """Checks and stores a picture; returns what rows call it. Raises PictureError."""
        extension = check(file)
        file.seek(0)
        name = f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}.{extension}"  # type: ignore[arg-type]
        if name not in self.used:
            self._store(name, file)
            self.used.add(name)
        return f"images/{name}"

    def _store(self, name: str, file: IO[bytes]) -> None:
        path = f"{self.folder}/{name}"
        size = file.seek(0, 2)
        if name in self.known:
            if default_storage.size(path) == size:
                return
            # A worker was killed while it wrote the file.
            default_storage.delete(path)
        file.seek(0)
        default_storage.save(path, File(file))

    def remove_others(self) -> None:
        """Removes pictures that no row names any more."""
        for name in _names(self.folder):
            if name not in self.used:
                default_storage.delete(f"{self.folder}/{name}")


def _folder(version: DatasetVersion) -> str:
    return f"datasets/{version.uid}/images"


def _names(folder: str) -> list[str]:
    try:
        return default_storage.listdir(folder)[1]
    except FileNotFoundError:
        return []


def picture_names(version: DatasetVersion) -> list[str]:
    """The stored pictures of a version, without images/."""
    return _names(_folder(version))


def open_picture(version: DatasetVersion, name: str) -> IO[bytes]:
    """Opens a stored picture by its name, with or without images/ before it; raises FileNotFoundError."""
    name = PurePosixPath(name).name
    if not NAME.fullmatch(name):
        raise FileNotFoundError(name)
    return stream(f"{_folder(version)}/{name}")


def thumbnail(version: DatasetVersion, name: str) -> bytes:
    """A small WebP of a stored picture; raises FileNotFoundError."""
    with open_picture(version, name) as file, Image.open(BytesIO(file.read())) as image:
        image.draft("RGB", (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    result = BytesIO()
    small.save(result, "WEBP", quality=80)
    return result.getvalue()


def copy_pictures(version: DatasetVersion, names: Iterable[str], directory: Path) -> int:
    """Copies stored pictures into a directory, as rows name them or without images/; returns their bytes.

    Repeatable after a kill: a file appears whole or not at all, and one that is there is not copied again.
    Raises FileNotFoundError if the storage has lost one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    size = 0
    for name in sorted({PurePosixPath(name).name for name in names}):
        target = directory / name
        if not target.exists():
            unfinished = directory / f"{name}.unfinished"
            with open_picture(version, name) as source, unfinished.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
            unfinished.rename(target)
        size += target.stat().st_size
    return size
