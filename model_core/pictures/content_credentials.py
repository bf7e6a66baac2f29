"""Content credentials: a C2PA manifest in a picture file, signed by the operator, that says a model made the picture.

Written last of all, for it holds a hash of everything else in the file. Needs the extra dalle-serve[c2pa]. What the
file says of itself otherwise is in `provenance.py`.

Provenance: the specification of the Coalition for Content Provenance and Authenticity, 2.x.
"""

import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from model_core.errors import DalleServeError
from model_core.pictures.images import encode_png
from model_core.pictures.provenance import DIGITAL_SOURCE, SOFTWARE

SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}  # it would be larger than the picture
CURVES = {256: "es256", 384: "es384", 521: "es512"}


class CredentialSigner:
    """Signs finished picture files. Threads may share it.

    Args:
      certificates: a file of PEM certificates: the signer's own first, then those between it and the root.
      key: a file with its private key, PEM without a password: P-256, P-384, P-521, Ed25519 or RSA.
      timestamp_url: of an RFC 3161 authority, asked for each file; None asks nobody.

    Raises:
      DalleServeError: the extra is not installed, a file cannot be read, or nothing can be signed with them.
    """

    def __init__(self, certificates: Path, key: Path, timestamp_url: str | None = None):
        try:
            import c2pa
        except ImportError as error:
            raise DalleServeError(f"C2PA manifests need more: install dalle-serve[c2pa] ({error}).") from error
        try:
            chain, secret = certificates.read_bytes(), key.read_bytes()
        except OSError as error:
            raise DalleServeError(f"{error.filename} cannot be read: {error.strerror}.") from error
        try:
            info = c2pa.C2paSignerInfo(_algorithm(secret), chain, secret, timestamp_url)
            self._context = c2pa.Context.from_dict(SETTINGS, c2pa.Signer.from_info(info))
            self.sign(encode_png(np.zeros((1, 1, 3), np.uint8)), "png", "none")
        except DalleServeError:
            raise
        except Exception as error:  # of a foreign library, about files that it looks into
            raise DalleServeError(f"Nothing can be signed with {certificates.name} and {key.name}: {error}") from error

    def sign(self, file: bytes, output_format: str, model: str, is_edit: bool = False) -> bytes:
        """The same picture with a signed manifest.

        Args:
          output_format: `png`, `jpeg` or `webp`.
          model: the id of what drew it.
          is_edit: whether a part of it came from elsewhere.

        Raises:
          c2pa.C2paError: it cannot be signed.
        """
        import c2pa

        signed = io.BytesIO()
        with c2pa.Builder(_manifest(model, is_edit), context=self._context) as builder:
            builder.sign(f"image/{output_format}", io.BytesIO(file), signed)
        return signed.getvalue()


def _manifest(model: str, is_edit: bool) -> str:
    source = f"{DIGITAL_SOURCE}{'compositeWithTrainedAlgorithmicMedia' if is_edit else 'trainedAlgorithmicMedia'}"
    created = {"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": {"name": model}}
    return json.dumps(
        {
            "claim_generator_info": [{"name": SOFTWARE, "version": version("dalle-serve")}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
        }
    )


def _algorithm(key: bytes) -> str:
    """What a key signs with, as C2PA calls it."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    found: Any = load_pem_private_key(key, password=None)
    if isinstance(found, ec.EllipticCurvePrivateKey) and found.curve.key_size in CURVES:
        return CURVES[found.curve.key_size]
    if isinstance(found, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(found, rsa.RSAPrivateKey):
        return "ps256"
    raise DalleServeError("The key is of a kind that C2PA does not sign with: take P-256, Ed25519 or RSA.")
