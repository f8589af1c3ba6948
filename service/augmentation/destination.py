"""Where files go: a local folder, or any file system that pyarrow knows.

write(name, content) ──► a temporary name ──synced──► renamed ──► the folder synced

A file is there whole or not at all: object stores publish whole objects by themselves, elsewhere a
temporary name and a rename do it.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from service.augmentation.holds import Held

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEMPORARY = ".tmp"
_PUBLISHES_WHOLE = {"s3", "gcs", "abfs"}


class Destination(Protocol):
    """A folder of small names, `/` in them for one level of subfolders."""

    @property
    def shown(self) -> str:
        """What a person calls it."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put a whole file there, durably where the file system can.

        Raises:
            Held: there is no space.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """A file's content; None if it is not there."""
        ...

    def sizes(self, subfolder: str = "") -> dict[str, int]:
        """Bytes by name, of the folder's files or of one subfolder's, sorted; none: not there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, or a subfolder of files; nothing happens if it is not there."""
        ...

    def sweep(self) -> None:
        """Remove what killed processes were writing; nobody else may write meanwhile."""
        ...


class LocalFolder:
    """A folder of this machine; made with the first file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def shown(self) -> str:
        """See `Destination`."""
        return str(self.path)

    def write(self, name: str, content: bytes) -> None:
        """See `Destination`."""
        path = self.path / name
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
        try:
            _make_folder(path.parent)
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _held(error) from error

    def read(self, name: str) -> bytes | None:
        """See `Destination`."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sizes(self, subfolder: str = "") -> dict[str, int]:
        """See `Destination`."""
        folder = self.path / subfolder
        if not folder.is_dir():
            return {}
        return {
            p.name: p.stat().st_size
            for p in sorted(folder.iterdir())
            if p.is_file() and not p.name.endswith(_TEMPORARY)
        }

    def remove(self, name: str) -> None:
        """See `Destination`."""
        path = self.path / name
        if path.is_dir():
            for file in path.iterdir():
                file.unlink(missing_ok=True)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """See `Destination`."""
        for stale in self.path.glob(f"**/.*{_TEMPORARY}"):
            stale.unlink(missing_ok=True)


class RemoteFolder:
    """A folder of a pyarrow file system."""

    def __init__(self, filesystem: FileSystem, path: str, shown: str) -> None:
        self._fs = filesystem
        self._path = path
        self._shown = shown

    @property
    def shown(self) -> str:
        """See `Destination`."""
        return self._shown

    def write(self, name: str, content: bytes) -> None:
        """See `Destination`."""
        path = PurePosixPath(self._path) / name
        try:
            if self._fs.type_name in _PUBLISHES_WHOLE:
                with self._fs.open_output_stream(str(path)) as stream:
                    stream.write(content)
                return
            self._fs.create_dir(str(path.parent), recursive=True)
            temporary = str(path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}"))
            with self._fs.open_output_stream(temporary) as stream:
                stream.write(content)
            self._fs.move(temporary, str(path))
        except OSError as error:
            raise _held(error) from error

    def read(self, name: str) -> bytes | None:
        """See `Destination`."""
        try:
            with self._fs.open_input_stream(str(PurePosixPath(self._path) / name)) as stream:
                content: bytes = stream.read()
                return content
        except FileNotFoundError:
            return None

    def sizes(self, subfolder: str = "") -> dict[str, int]:
        """See `Destination`."""
        found = sorted(self._files(subfolder), key=lambda file: file.base_name)
        return {f.base_name: f.size for f in found if not f.base_name.endswith(_TEMPORARY)}

    def remove(self, name: str) -> None:
        """See `Destination`."""
        from pyarrow.fs import FileType  # noqa: PLC0415  as above

        path = str(PurePosixPath(self._path) / name)
        match self._fs.get_file_info(path).type:
            case FileType.File:
                self._fs.delete_file(path)
            case FileType.Directory:
                self._fs.delete_dir(path)

    def sweep(self) -> None:
        """See `Destination`."""
        if self._fs.type_name in _PUBLISHES_WHOLE:
            return
        for file in self._files("", recursive=True):
            if file.base_name.endswith(_TEMPORARY):
                self._fs.delete_file(file.path)

    def _files(self, subfolder: str, *, recursive: bool = False) -> list[FileInfo]:
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415  as above

        folder = str(PurePosixPath(self._path) / subfolder)
        selector = FileSelector(folder, allow_not_found=True, recursive=recursive)
        return [f for f in self._fs.get_file_info(selector) if f.type == FileType.File]


def open_destination(where: str) -> Destination:
    """The folder at a path, or at a URL such as `s3://bucket/folder`.

    Raises:
        ValueError: pyarrow knows no such file system.
    """
    if "://" not in where:
        return LocalFolder(Path(where))
    from pyarrow import ArrowInvalid  # noqa: PLC0415  only remote orders need it
    from pyarrow.fs import FileSystem  # noqa: PLC0415

    try:
        filesystem, path = FileSystem.from_uri(where)
    except (ArrowInvalid, OSError) as error:
        raise ValueError(f"{where}: no file system for this URL: {error}") from error
    if filesystem.type_name == "local":
        return LocalFolder(Path(path))
    return RemoteFolder(filesystem, path, where)


def _held(error: OSError) -> Exception:
    """A full disk holds an order until there is space; anything else is what it is."""
    if error.errno in FULL:
        return Held("no_space", "there is no space left for the order's files")
    return error


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    """Make renames in a folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
