"""Readers of foreign bytes, fed with valid files whose bytes and tags were changed: they read, or refuse in words.

`FUZZ_CASES` says how many changed files there are in all (500 without it); `make fuzz` takes 20 000.
"""

import asyncio
import csv
import io
import json
import os
import struct
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import Request

from deployments.api.body import read_json_object
from deployments.api.uploads import read_form
from deployments.config import Limits
from deployments.gateway.canvas import read_canvas
from deployments.requests.parsing import parse
from deployments.requests.schemas import EditRequest, GenerationRequest, Upload
from model_core.codecs import discrete_vae_config, openai_dvae_config, vqgan_config
from model_core.codecs.vqgan_published import as_flat, from_taming
from model_core.conversion.convert import convert
from model_core.errors import CheckpointError, InvalidValue
from model_core.families.dalle_bart import config as dalle_bart_config
from model_core.pictures import images
from model_core.pictures.provenance import read_notes
from model_core.scorers import clip_config, dalle_pytorch_clip_config
from model_core.training.data import INDEX, Dataset, read_picture
from model_core.training.folder import build_folder
from model_core.weights.json_files import read_json
from model_core.weights.pickle_values import Made, Name
from model_core.weights.torch_files import TorchFile, Unread
from model_core.weights.weight_files import StoredArray
from tests import torch_pickles

CASES = int(os.environ.get("FUZZ_CASES", "500"))
FIXTURES = Path(__file__).parents[1] / "parity/fixtures"
LIMITS = Limits(max_upload_pixels=4096)
NOTES = {"model": "emoji", "seed": "7", "prompt": "a café"}


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def pictures() -> list[bytes]:
    """Small files of every format and mode, with metadata."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "said", 72.0
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    grey = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    drawn = [images.encode(np.array(noise)[..., :3], each, 90, NOTES) for each in ("png", "jpeg", "webp")]
    pngs = [noise.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    return [
        *drawn,
        *(saved(each, "PNG", exif=exif.tobytes(), dpi=(72, 72)) for each in (*pngs, grey)),
        saved(noise.convert("L"), "PNG", transparency=7),
        saved(noise.convert("P"), "PNG", transparency=bytes(range(0, 256, 8))),
        *(saved(noise.convert(mode), "JPEG", exif=exif.tobytes(), comment=b"said") for mode in ("L", "RGB", "CMYK")),
        saved(noise.convert("RGB"), "JPEG", progressive=True),
        saved(noise, "WEBP", exif=exif.tobytes(), xmp=b"<x/>"),
        saved(noise, "WEBP", lossless=True),
        saved(noise, "WEBP", save_all=True, append_images=[noise.rotate(90)]),
        saved(noise, "PNG", save_all=True, append_images=[noise.rotate(90)]),
        saved(noise.convert("P"), "GIF"),
        saved(noise.convert("RGB"), "BMP"),
    ]


def tars() -> list[bytes]:
    files = {"0.png": saved(Image.new("RGB", (4, 4), "red"), "PNG"), "0.txt": b"red", "1.jpg": b"none",
             "1.json": json.dumps({"caption": "a blue square"}).encode()}  # fmt: skip
    archives = []
    for mode in ("w", "w:gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        archives.append(buffer.getvalue())
    return archives


def tables() -> list[bytes]:
    rows = [{"file": "a.png", "caption": 'a "cat", sitting'}, {"file": "b.png", "caption": "süß"}]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["file", "caption"])
    writer.writeheader()
    writer.writerows(rows)
    return [text.getvalue().encode(), "\n".join(map(json.dumps, rows)).encode()]


def forms() -> list[bytes]:
    def part(head: bytes, content: bytes) -> bytes:
        return b"--B\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"

    picture = saved(Image.new("RGBA", (4, 4)), "PNG")
    texts = {b"prompt": b"a hat", b"n": b"2", b"seed": b"5", b"top_p": b"0.5", b"stream": b"true"}
    body = part(b'name="image"; filename="a.png"', picture) + part(b'name="mask"; filename="b"', picture)
    return [body + b"".join(part(b'name="%s"' % name, text) for name, text in texts.items()) + b"--B--\r\n"]


def with_right_checksums(png: bytes) -> bytes:
    """Lets a changed PNG past the checksums of its chunks."""
    fixed, at = [png[:8]], 8
    while at + 12 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        if end > len(png):
            break
        fixed += [png[at : end - 4], struct.pack(">I", zlib.crc32(png[at + 4 : end - 4]))]
        at = end
    return b"".join([*fixed, png[at:]])


@st.composite
def changed(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """One of the files, with some of its bytes replaced, cut out, repeated, or its end cut off."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(["bytes", "tag", "cut out", "insert", "cut off"]))
        if how == "bytes":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "tag":  # where formats have counts, types and offsets
            data[at : at + 2] = draw(st.sampled_from([b"\0\0", b"\xff\xff", b"\0\1", b"\1\0", b"\x7f\xff", b"\x80\0"]))
        elif how == "cut out":
            del data[at : at + draw(st.integers(1, 40))]
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif len(data) > 1:
            del data[-draw(st.integers(1, min(100, len(data) - 1))) :]
    whole = bytes(data)
    return with_right_checksums(whole) if whole[:4] == b"\x89PNG" and draw(st.booleans()) else whole


def torch_files() -> list[bytes]:
    """Small files of both formats: arrays that share a storage, a view, a module, settings."""
    numbers = np.arange(12, dtype=np.float32)
    half = np.ones(3, np.float16)

    def content(old: bool) -> bytes:
        arrays = {
            "codebook.weight": torch_pickles.tensor("0", 12, 0, (3, 4), (4, 1), old=old),
            "turned": torch_pickles.tensor("0", 12, 0, (4, 3), (1, 4), old=old),
            "half": torch_pickles.array("1", half, old),
        }
        module = torch_pickles.global_("torch.nn", "Linear") + b")\x81" + b"}" + torch_pickles.text("_parameters")
        module += torch_pickles.dictionary({"w": torch_pickles.array("1", half, old)}) + b"sb"
        settings = {"image_size": torch_pickles.number(8), "name": torch_pickles.text("a"), "list": b"](K\x01K\x02e"}
        parts = {
            "hparams": torch_pickles.dictionary(settings),
            "weights": torch_pickles.dictionary(arrays, ordered=True),
        }
        return torch_pickles.dictionary(parts | {"module": module})

    storages = {"0": numbers, "1": half}
    return [torch_pickles.zip_file(content(False), storages), torch_pickles.old_file(content(True), storages)]


def is_inert(value: Any) -> bool:
    """Whether it consists of data alone."""
    if isinstance(value, dict | list | tuple):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(is_inert, inner))
    if isinstance(value, Made):
        return is_inert(value.state) and is_inert(value.entries)
    return value is None or isinstance(value, bool | int | float | str | bytes | StoredArray | Unread | Name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=2),
    max_leaves=4,
)


@st.composite
def changed_json(draw: st.DrawFn, files: list[dict[str, Any]]) -> dict[str, Any]:
    """One of the objects, with a value or two of it replaced or left out, at any depth."""
    content = json.loads(json.dumps(draw(st.sampled_from(files))))
    for _ in range(draw(st.integers(1, 2))):
        place: Any = content
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        if draw(st.integers(0, 4)) or isinstance(place, list):
            place[key] = draw(JSON)
        else:
            del place[key]
        if not content:
            break
    return content


def share(part: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So much of all cases."""
    quiet = list(HealthCheck)
    return settings(
        max_examples=max(10, round(CASES * part)), deadline=None, suppress_health_check=quiet, database=None
    )


def request_of(body: bytes, content_type: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "headers": [(b"content-type", content_type.encode())]}, receive)


def quietly(read: Callable[[], Any]) -> None:
    try:
        read()
    except (InvalidValue, CheckpointError) as error:
        str(error).encode()
        assert len(str(error)) < 1000


@share(0.5)
@given(changed(pictures()))
def test_pictures(data: bytes):
    quietly(lambda: images.read_image(data, max_pixels=4096))
    quietly(lambda: read_picture(data, "a.png"))
    quietly(lambda: read_canvas(Upload(images=[data], mask=None), 8, LIMITS))
    assert isinstance(read_notes(data), dict)


@share(0.1)
@given(changed([saved(Image.new("RGBA", (8, 8)), "PNG"), saved(Image.new("LA", (8, 8)), "WEBP")]))
def test_masks(data: bytes):
    image = saved(Image.new("RGB", (8, 8)), "PNG")
    quietly(lambda: read_canvas(Upload(images=[image], mask=data), 8, LIMITS))


@share(0.1)
@given(changed(forms()))
def test_forms(body: bytes):
    async def read() -> None:
        texts, _ = await read_form(request_of(body, "multipart/form-data; boundary=B"), LIMITS, may_mask=True)
        parse(EditRequest, texts, LIMITS, as_text=True)

    quietly(lambda: asyncio.run(read()))


@share(0.05)
@given(changed([json.dumps({"prompt": "süß", "n": 2, "seed": 5, "top_p": 1e-39, "stream": False}).encode()]))
def test_json_bodies(body: bytes):
    async def read() -> None:
        parse(GenerationRequest, await read_json_object(request_of(body, "application/json"), 10_000), LIMITS)

    quietly(lambda: asyncio.run(read()))


@share(0.1)
@given(changed(tars()))
def test_archives(data: bytes):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.tar").write_bytes(data)
        quietly(lambda: build_folder(Path(folder), Path(folder) / "out", size=4))


@share(0.05)
@given(st.sampled_from(["captions.csv", "captions.jsonl", "a.txt"]), changed(tables()))
def test_captions(name: str, data: bytes):
    with tempfile.TemporaryDirectory() as folder:
        Image.new("RGB", (4, 4)).save(Path(folder) / "a.png")
        (Path(folder) / name).write_bytes(data)
        quietly(lambda: build_folder(Path(folder), Path(folder) / "out", size=4))


@share(0.3)
@given(changed(torch_files()))
def test_torch_files(data: bytes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        path.write_bytes(data)
        before = set(sys.modules)

        def read() -> None:
            file = TorchFile(path)
            assert is_inert(file.content)
            file.arrays("weights")

        assert torch_pickles.peak_bytes(lambda: quietly(read)) < 5_000_000
        assert {name.split(".")[0] for name in set(sys.modules) - before} <= {"encodings"}  # of old texts and names
        (Path(folder) / "out").mkdir()
        quietly(lambda: convert(path, Path(folder) / "out", "a", None, []))


ITEM = {"image": "a.png", "prompts": [["red", 1.0], ["a red square", 2]], "concept": "r", "style": "", "split": "train"}


@share(0.05)
@given(changed_json([ITEM]).map(json.dumps).map(str.encode) | changed([json.dumps(ITEM).encode()]))
def test_indexes(line: bytes):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / INDEX).write_bytes(line + b"\n")
        quietly(lambda: Dataset.open(Path(folder)))


def config_of(name: str, file: str = "config.json") -> dict[str, Any]:
    return json.loads((FIXTURES / name / file).read_text())


@share(0.05)
@given(st.data())
@pytest.mark.usefixtures("unchecked")
def test_configurations(data: st.DataObject):
    clip, preprocessor = config_of("clip-tiny"), config_of("clip-tiny", "preprocessor_config.json")
    quietly(lambda: vqgan_config.VQGANConfig.from_dict(data.draw(changed_json([config_of("vqgan-tiny")]))))
    vq16 = [config_of("janus-tiny"), config_of("llamagen-tiny", "vq/config.json") | {"resolution": 12}]
    quietly(lambda: vqgan_config.VQGANConfig.from_dict(as_flat(data.draw(changed_json(vq16)))))
    taming = [config_of("dp-taming")["vae_config"]]
    quietly(lambda: vqgan_config.VQGANConfig.from_dict(from_taming(data.draw(changed_json(taming)))))
    vae = [config_of("dp-rotary")["vae_params"]]
    quietly(lambda: discrete_vae_config.DiscreteVAEConfig.from_dict(data.draw(changed_json(vae))))
    quietly(lambda: openai_dvae_config.OpenAIDVAEConfig.from_dict(data.draw(changed_json([config_of("openai-dvae")]))))
    own = [config_of("dp-plain-clip", "clip/config.json") | {"tokenizer": {"kind": "hug", "file": "a"}}]
    quietly(lambda: dalle_pytorch_clip_config.DallePytorchCLIPConfig.from_dict(data.draw(changed_json(own))))
    quietly(lambda: dalle_bart_config.DalleBartConfig.from_dict(data.draw(changed_json([config_of("dalle-tiny")]))))
    quietly(lambda: clip_config.CLIPConfig.from_dict(data.draw(changed_json([clip])), preprocessor))
    quietly(lambda: clip_config.CLIPConfig.from_dict(clip, data.draw(changed_json([preprocessor]))))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(data.draw(changed([json.dumps(clip).encode()])))
        quietly(lambda: read_json(Path(folder), "config.json"))
