"""Signed files, verified with the library of the specification's authors, and with certificates made here."""

import datetime
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from model_core.errors import DalleServeError
from model_core.pictures import images
from model_core.pictures.content_credentials import CredentialSigner
from model_core.pictures.provenance import read_notes

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
FORMATS = ["png", "jpeg", "webp"]
NOTES = {"model": "emoji", "seed": "7", "parameters": "{}"}


def certificate(name: str, key: Any, issuer: Any, issuer_key: Any, is_authority: bool, days: int = 36500) -> Any:
    """A certificate as C2PA asks for them; `issuer` None signs itself."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    usage = {
        "digital_signature": not is_authority, "key_cert_sign": is_authority, "crl_sign": is_authority,
        "content_commitment": False, "key_encipherment": False, "data_encipherment": False, "key_agreement": False,
        "encipher_only": False, "decipher_only": False,
    }  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=400))
        .not_valid_after(NOW - datetime.timedelta(days=400) + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_authority:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return made.sign(issuer_key, hashes.SHA256())


class Chain:
    """A root, and what it vouches for, as files."""

    def __init__(self, folder: Path, key: Any, days: int = 36500):
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = certificate("Root", root_key, None, root_key, True)
        own = certificate("Operator", key, root, root_key, False, days)
        self.root = root.public_bytes(serialization.Encoding.PEM).decode()
        self.certificates, self.key = folder / "chain.pem", folder / "key.pem"
        self.certificates.write_bytes(own.public_bytes(serialization.Encoding.PEM) + self.root.encode())
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def signer(self) -> CredentialSigner:
        return CredentialSigner(self.certificates, self.key)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return Chain(tmp_path_factory.mktemp("chain"), ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def signer(chain: Chain) -> CredentialSigner:
    return chain.signer()


def verified(file: bytes, output_format: str, root: str) -> tuple[str, dict[str, Any]]:
    """How the file stands, for who trusts `root` alone, and its manifest."""
    settings = c2pa.Settings.from_dict({"verify": {"verify_trust": True}, "trust": {"trust_anchors": root}})
    with (
        c2pa.Context(settings) as context,
        c2pa.Reader(f"image/{output_format}", io.BytesIO(file), context=context) as reader,
    ):
        report = json.loads(reader.json())
        return str(reader.get_validation_state()), report["manifests"][report["active_manifest"]]


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_signed_file_is_trusted_and_says_that_a_model_drew_it(
    chain: Chain, signer: CredentialSigner, output_format: str
):
    plain = images.encode(picture(), output_format, 90, NOTES)
    signed = signer.sign(plain, output_format, "emoji")
    state, manifest = verified(signed, output_format, chain.root)
    assert state == "Trusted" and len(signed) < len(plain) + 8000  # there is no thumbnail in it
    (created,) = actions(manifest)
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert created["softwareAgent"]["name"] == "emoji"
    assert manifest["claim_generator_info"][0]["name"] == "dalle-serve"
    assert read_notes(signed) == NOTES  # which the signature covers
    np.testing.assert_array_equal(images.read_image(signed), images.read_image(plain))


def actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    (found,) = [each["data"]["actions"] for each in manifest["assertions"] if each["label"].startswith("c2pa.actions")]
    return found


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_file_that_was_changed_is_found_out(chain: Chain, signer: CredentialSigner, output_format: str):
    signed = bytearray(signer.sign(images.encode(picture(), output_format, 90, NOTES), output_format, "emoji"))
    assert b"trainedAlgorithmicMedia" in signed
    signed[-20] ^= 1
    assert verified(bytes(signed), output_format, chain.root)[0] == "Invalid"


def test_who_does_not_trust_the_root_sees_a_stranger(signer: CredentialSigner, tmp_path: Path):
    other = Chain(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    state, _ = verified(signer.sign(images.encode_png(picture()), "png", "emoji"), "png", other.root)
    assert state == "Valid"


def test_an_edit_is_said_to_be_composed(chain: Chain, signer: CredentialSigner):
    _, manifest = verified(signer.sign(images.encode_png(picture()), "png", "emoji", is_edit=True), "png", chain.root)
    assert actions(manifest)[0]["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")


KEYS = {
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_other_kinds_of_keys(kind: str, tmp_path: Path):
    chain = Chain(tmp_path, KEYS[kind]())
    state, _ = verified(chain.signer().sign(images.encode_png(picture()), "png", "emoji"), "png", chain.root)
    assert state == "Trusted"


def test_what_cannot_sign_is_refused_before_anything_is_drawn(chain: Chain, tmp_path: Path):
    other = Chain(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    expired = tmp_path / "expired"
    expired.mkdir()
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for certificates, key in (
        (chain.certificates, tmp_path / "missing.pem"),
        (nonsense, chain.key),
        (chain.certificates, nonsense),
        (chain.certificates, other.key),
        (Chain(expired, ec.generate_private_key(ec.SECP256R1()), days=10).certificates, expired / "key.pem"),
    ):
        with pytest.raises(DalleServeError):
            CredentialSigner(certificates, key)


def test_threads_share_a_signer(chain: Chain, signer: CredentialSigner):
    plain = images.encode_png(picture())
    with ThreadPoolExecutor(4) as threads:
        files = list(threads.map(lambda place: signer.sign(plain, "png", f"model-{place}"), range(12)))
    for place, file in enumerate(files):
        state, manifest = verified(file, "png", chain.root)
        assert (state, actions(manifest)[0]["softwareAgent"]["name"]) == ("Trusted", f"model-{place}")
