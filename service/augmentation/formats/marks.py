"""What marks data as synthetic: in the metadata of files, in every PNG, in every row.

IPTC's digital source type is what readers of pictures look for (IPTC Photo Metadata 2023.2);
`is_synthetic` is for people.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.augmentation.formats import SOURCE_TYPE
from service.augmentation.order import Order

_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def marks(order: Order) -> dict[str, str]:
    """What the metadata of every file says."""
    return {
        "is_synthetic": "true",
        "digital_source_type": SOURCE_TYPE,
        "generator": "Reverie",
        "model": order.model,
        "model_digest": order.digest,
    }


@lru_cache(maxsize=8)
def _png_info(order: Order) -> PngInfo:
    info = PngInfo()
    for name, value in marks(order).items():
        info.add_text(name, value)
    info.add_itxt("XML:com.adobe.xmp", _XMP)
    return info


def marked_png(pixels: UInt8[np.ndarray, "h w c"], order: Order) -> bytes:
    """One image of 1 (grey) or 3 (RGB) channels as a PNG file that says that it is synthetic."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = BytesIO()
    picture.save(buffer, format="PNG", pnginfo=_png_info(order))
    return buffer.getvalue()
