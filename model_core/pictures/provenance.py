"""What a picture file says of itself: the software, the model, the seed and the parameters it was drawn with.

PNG files hold it as text chunks, JPEG and WebP files as EXIF; all three say in XMP that a model made the picture, with
the word that the press uses for it (IPTC's digital source type).
"""

import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

SOFTWARE = "dalle-serve"
DIGITAL_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_EXIF_DESCRIPTION, _EXIF_SOFTWARE = 0x010E, 0x0131
_XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
    f'"{DIGITAL_SOURCE}trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="r"?>'
)


def note_options(output_format: str, notes: Mapping[str, str]) -> dict[str, Any]:
    """The options of Pillow's `save` that write the notes into a `png`, `jpeg` or `webp` file.

    Args:
      notes: text by name, such as {"model": "emoji", "seed": "7"}.
    """
    if output_format == "png":
        chunks = PngInfo()
        chunks.add_text("Software", SOFTWARE)
        for name, text in notes.items():
            chunks.add_text(name, text)
        chunks.add_itxt("XML:com.adobe.xmp", _XMP)
        return {"pnginfo": chunks}
    exif = Image.Exif()
    exif[_EXIF_SOFTWARE] = SOFTWARE
    exif[_EXIF_DESCRIPTION] = json.dumps(dict(notes))  # ASCII, as EXIF wants it
    return {"exif": exif.tobytes(), "xmp": _XMP.encode()}


def read_notes(file: bytes) -> dict[str, str]:
    """The notes in a picture file that `images.encode` wrote; empty where there are none, or none that can be read."""
    try:
        with Image.open(io.BytesIO(file), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.format == "PNG":
                notes = {str(name): str(text) for name, text in getattr(image, "text", {}).items()}
                return {name: text for name, text in notes.items() if name not in ("Software", "XML:com.adobe.xmp")}
            notes = json.loads(image.getexif()[_EXIF_DESCRIPTION])
    except Exception:  # a parser of foreign bytes raises anything
        return {}
    return notes if isinstance(notes, dict) and all(isinstance(text, str) for text in notes.values()) else {}
