"""The model package: a manifest and the files it names, each with its digest.

manifest.py  what a manifest may say, and what follows from it
images.py    images, and the range of their pixels
tables.py    columns of a table, and how a network writes a cell of each
reference.py real examples that travel with a package, for reports
package.py   packages on disk: write, read, verify

Training writes packages with `write_package`; the service reads them with `read_package`, which
checks every digest before it parses anything else.
"""

from service.contract.images import ImageData
from service.contract.manifest import (
    NAME_PATTERN,
    Calibration,
    Defaults,
    Dtype,
    FileEntry,
    FunctionSpec,
    Labels,
    Latent,
    Manifest,
    Quality,
    Role,
    ScoreMethod,
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
from service.contract.reference import REFERENCE_FILE, TABLE_REFERENCE_FILE, Reference
from service.contract.tables import (
    CategoricalColumn,
    Column,
    Marginal,
    Mode,
    NumericColumn,
    TableData,
)

__all__ = [
    "CARD_FILE",
    "MANIFEST_FILE",
    "NAME_PATTERN",
    "PREVIEW_FILE",
    "REFERENCE_FILE",
    "TABLE_REFERENCE_FILE",
    "WEIGHTS_FILE",
    "Calibration",
    "CategoricalColumn",
    "Column",
    "Defaults",
    "Dtype",
    "FileEntry",
    "FunctionSpec",
    "ImageData",
    "Labels",
    "Latent",
    "Manifest",
    "Marginal",
    "Mode",
    "NumericColumn",
    "PackageError",
    "Quality",
    "Reference",
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
