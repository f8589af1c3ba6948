"""Packages on disk: written whole or not at all, and verified before anything is parsed.

models_store/<name>/<version>/manifest.json ──► verify digests ──► Manifest (frozen)
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from service.contract.manifest import Manifest

MANIFEST_FILE = "manifest.json"
CARD_FILE = "card.md"
PREVIEW_FILE = "preview.png"
WEIGHTS_FILE = "weights.safetensors"


class PackageError(ValueError):
    """A package that cannot be trusted or understood; the message says why, without any path."""


def sha256_of(content: bytes) -> str:
    """The hexadecimal sha256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def read_manifest(directory: Path) -> Manifest:
    """Parse `manifest.json` in `directory`.

    Raises:
        PackageError: no manifest, not JSON, or not what the schema says.
    """
    try:
        raw = (directory / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise PackageError("manifest.json cannot be read") from error
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "/".join(str(part) for part in first["loc"]) or "the document"
        reason = first["msg"].removeprefix("Value error, ")
        raise PackageError(f"manifest.json: {where}: {reason}") from error


def read_package(directory: Path) -> Manifest:
    """Read the manifest in `directory` and check the digest of every file that it names.

    Raises:
        PackageError: the manifest is bad, the folder disagrees with it, or a digest differs.
    """
    manifest = read_manifest(directory)
    expected = (manifest.name, str(manifest.version))
    if (directory.parent.name, directory.name) != expected:
        raise PackageError(
            f"manifest.json says {manifest.id}, but the folder is "
            f"{directory.parent.name}/{directory.name}"
        )
    for name, digest in manifest.digests().items():
        read_verified(directory, name, digest)
    return manifest


def read_verified(directory: Path, name: str, digest: str) -> bytes:
    """The bytes of one package file, once they are known to have this sha256.

    Raises:
        PackageError: the file is missing, leads out of the package, or has another digest.
    """
    if PurePosixPath(name).name != name or re.search(r"[\\/]", name):
        raise PackageError(f"{name!r} is not a plain file name")
    path = directory / name
    if path.is_symlink() and path.resolve().parent != directory.resolve():
        raise PackageError(f"{name} is a link that leads out of the package")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{name} is named in manifest.json but cannot be read") from error
    found = sha256_of(content)
    if found != digest:
        raise PackageError(
            f"{name} has sha256 {found[:12]}…, manifest.json says {digest[:12]}…: "
            "the file was changed or damaged; export or copy the package again"
        )
    return content


def write_package(store: Path, manifest: Manifest, contents: dict[str, bytes]) -> Path:
    """Write a package under `store`, whole or not at all, and return its folder.

    Args:
        store: the folder that holds packages as `<name>/<version>/`.
        manifest: what is written as manifest.json; its digests must match `contents`.
        contents: file name → bytes.

    Raises:
        PackageError: a file is missing or its digest is not the manifest's.
    """
    for name, digest in manifest.digests().items():
        if name not in contents or sha256_of(contents[name]) != digest:
            raise PackageError(f"{name} is not what the manifest says")
    target = store / manifest.name / str(manifest.version)
    staging = target.with_name(f".{target.name}.writing")
    staging.mkdir(parents=True, exist_ok=True)
    for stale in staging.iterdir():
        stale.unlink()
    for name, content in contents.items():
        (staging / name).write_bytes(content)
    (staging / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
    if target.exists():
        for old in target.iterdir():
            old.unlink()
        target.rmdir()
    staging.rename(target)
    return target
