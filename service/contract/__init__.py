"""The model package: a manifest and the files it names, each with its digest.

manifest.py  what a manifest may say, and what follows from it
package.py   packages on disk: write, read, verify

Training writes packages with `write_package`; the service reads them with `read_package`, which
checks every digest before it parses anything else.
"""

from service.contract.manifest import (
    NAME_PATTERN,
    Calibration,
    Defaults,
    Dtype,
    FileEntry,
    FunctionSpec,
    ImageData,
    Labels,
    Latent,
    Manifest,
    Quality,
    Role,
    ScoreMethod,
    TableData,
    TensorSpec,
)
from service.contract.package import (
    CARD_FILE,
    MANIFEST_FILE,
    PREVIEW_FILE,
    WEIGHTS_FILE,
    PackageError,
    read_manifest,
    read_package,
    read_verified,
    sha256_of,
    write_package,
)

__all__ = [
    "CARD_FILE",
    "MANIFEST_FILE",
    "NAME_PATTERN",
    "PREVIEW_FILE",
    "WEIGHTS_FILE",
    "Calibration",
    "Defaults",
    "Dtype",
    "FileEntry",
    "FunctionSpec",
    "ImageData",
    "Labels",
    "Latent",
    "Manifest",
    "PackageError",
    "Quality",
    "Role",
    "ScoreMethod",
    "TableData",
    "TensorSpec",
    "read_manifest",
    "read_package",
    "read_verified",
    "sha256_of",
    "write_package",
]
