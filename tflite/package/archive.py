"""The files in a package: a zip after the model, whose offsets count from the model's first byte.

They are stored, not compressed: MediaPipe opens no others ("Expected uncompressed zip archive"), and a file
of 2 MB cannot become one of 6 GB.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Collection
from typing import BinaryIO

from sqb_tf.errors import InputError, one_line

# The earliest time a zip entry can have; a real one would make two equal packages differ.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
# Of a file: the largest vocabularies, of 250,000 tokens, have 3 to 5 MB.
MAX_BYTES = 1 << 24
# Of the zip's directory: ours have 160 bytes, and `zipfile` takes ten times as much memory as it has.
_MAX_DIRECTORY_BYTES = 1 << 20
_END = struct.Struct("<4s4H2IH")  # the record that ends a zip, but for a comment
_LONGEST_COMMENT = (1 << 16) - 1
# What `zipfile` raises for damaged, encrypted and newer zips; OSError for a seek before the file's start.
_DAMAGED = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, struct.error)
_ADVICE = "package the model with `sqb convert`"


def append_files(model: memoryview, files: dict[str, bytes]) -> bytes:
    """The model with the files after it."""
    out = io.BytesIO()
    out.write(model)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content)
    return out.getvalue()


def read_files(file: BinaryIO, names: Collection[str], origin: str) -> tuple[dict[str, bytes], int]:
    """The files of these names that a package has, and how many bytes the model before them has.

    Other files are not read.

    Raises:
        InputError: the zip is cut or damaged; a file in it is compressed, encrypted or larger than
            `MAX_BYTES`.
    """
    try:
        _check_directory(file, origin)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            infos = {info.filename: info for info in entries if info.filename in names}
            for info in infos.values():
                _check_entry(info, origin)
            model_size = min((info.header_offset for info in entries), default=0)
            return {name: archive.read(info) for name, info in infos.items()}, model_size
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(
            f"{origin}: truncated, or no files inside ({one_line(error)}); {_ADVICE}"
        ) from None


def _check_directory(file: BinaryIO, origin: str) -> None:
    """Before `zipfile` reads all of it."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END.size - _LONGEST_COMMENT))
    end = file.read()
    position = end.rfind(b"PK\5\6")
    if position < 0 or position + _END.size > len(end):
        raise zipfile.BadZipFile("no zip after the model")
    directory = _END.unpack_from(end, position)[5]
    if directory > _MAX_DIRECTORY_BYTES:
        raise InputError(
            f"{origin}: a zip directory of {directory:,} bytes: expected {_MAX_DIRECTORY_BYTES:,} at "
            f"most; {_ADVICE}"
        )


def _check_entry(info: zipfile.ZipInfo, origin: str) -> None:
    if info.compress_type != zipfile.ZIP_STORED:
        raise InputError(
            f"{origin}: {info.filename} is compressed (method {info.compress_type}): expected it stored, "
            f"as MediaPipe does; {_ADVICE}"
        )
    if max(info.file_size, info.compress_size) > MAX_BYTES:
        raise InputError(
            f"{origin}: {info.filename} has {info.file_size:,} bytes: expected {MAX_BYTES:,} at most"
        )
