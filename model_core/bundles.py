"""A model's name → its parts on disk.

A name is that of a shipped model ("emoji"), a folder, a Hugging Face id ("org/name" or "org/name@revision"), or a
Weights & Biases artifact ("entity/project/name:version").
A model's folder holds `dalle_bart/`, `vqgan/`, `clip/` (optional), each as its public repository has it, and
`model.json`, which may name other folders: `"parts": {"sampler": "dalle_bart", "codec": "vqgan", "scorer": "clip"}`.
Or it is sampler and codec itself, as a Janus is, whose config.json describes both; then it needs no model.json.
Nothing is downloaded unless asked for. Imports no JAX.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from model_core import archives, codecs, families, releases, scorers
from model_core.errors import CorruptCheckpoint, InvalidValue, ModelNotFound
from model_core.vocabulary import Vocabulary
from model_core.weights import wandb_artifacts
from model_core.weights.json_files import read_json
from model_core.weights.weight_files import FLAX_WEIGHTS, SAFETENSORS_INDEX, SAFETENSORS_WEIGHTS, refuse_pickles

# The role of a part → the package whose `load` reads it.
ROLES: Mapping[str, Any] = MappingProxyType({"sampler": families, "text": families, "codec": codecs, "scorer": scorers})
# Where a part lies in a model's folder, unless model.json says otherwise. What draws reads the text as well.
FOLDERS: Mapping[str, str] = MappingProxyType({"sampler": "dalle_bart", "codec": "vqgan", "scorer": "clip"})
_SHIPPED = Path(__file__).with_name("bundled")
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?", re.ASCII)
_LISTS: Mapping[str, list[str]] = MappingProxyType(
    {"example_prompts": [], "known_things": [], "known_ways": ["{}"], "known_words": []}
)  # of model.json, and what they are where they are left out
_SAMPLING: Mapping[str, type] = MappingProxyType(
    {"guidance_scale": float, "temperature": float, "top_k": int, "top_p": float}
)
KNOWN_PICTURES = "known.webp"
# What is found in a model's folder by the names of files, the first of them that is there, and never in model.json.
FILES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"card": ("MODEL_CARD.md", "README.md"), "known_pictures": (KNOWN_PICTURES,)}
)
KNOWN_COLUMNS = 16  # pictures in a row of it
_PART_FILES = (
    "config.json",
    FLAX_WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "enwiki-words-frequency.txt",
    "bpe.json",
    "bpe.model",
    "bpe_simple_vocab_16e6.txt",
    "tokenizer/bpe-16k-vocab.json",
    "tokenizer/bpe-16k-merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
)
_SAFETENSORS = (SAFETENSORS_WEIGHTS, SAFETENSORS_INDEX, "model-*-of-*.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The parts of a model on disk, and what model.json says of them.

    Attributes:
      id: the model's name in requests and replies.
      text: reads prompts; the sampler's folder where there is none for it alone.
      codec: turns image codes into pictures.
      scorer: None where images are not to be ranked.
      size: the side of its images in pixels.
      sampling: the defaults of guidance_scale, temperature, top_k and top_p.
      licence: of the weights; "unknown" where there is no model.json, and it is no published model that is known.
      example_prompts: things that it can draw, to begin with; model.json may leave them out.
      known_things, known_ways: what it knows by name, and how that may be asked for, such as "{} on a red background".
      known_words: other words that it was taught.
      known_pictures: the file with a picture of each known thing, in their order, `KNOWN_COLUMNS` in a row.
      low_score: what its own scorer hardly ever gives the best picture of a prompt that it knows less than; None where
        model.json does not say.
      ranges: by setting the lowest and the highest value that its pictures are good with.
      card: the file that tells about the model, in Markdown.
      window: so many codes a step tries to draw where that must be the same always; model.json may leave it out.
      plain_ground: whether what it draws stands on a ground of one colour, which can be cleared; model.json may leave
        it out.
    """

    id: str
    sampler: Path
    text: Path
    codec: Path
    scorer: Path | None
    size: int
    sampling: dict[str, Any]
    licence: str = "unknown"
    description: str = ""
    example_prompts: tuple[str, ...] = ()
    known_things: tuple[str, ...] = ()
    known_ways: tuple[str, ...] = ("{}",)
    known_words: tuple[str, ...] = ()
    known_pictures: Path | None = None
    low_score: float | None = None
    ranges: dict[str, list[float]] = field(default_factory=dict)
    card: Path | None = None
    window: int = 1
    plain_ground: bool = False

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that it was taught, where its card says so."""
        return Vocabulary([*self.known_things, *self.known_ways, *self.known_words])

    @property
    def known_prompts(self) -> tuple[str, ...]:
        """Each known thing in each way; by them its scorer tells what a picture shows that comes without words."""
        return tuple(way.replace("{}", thing) for thing in self.known_things for way in self.known_ways)

    @property
    def parts(self) -> dict[str, Path]:
        """The folders of the parts that it has, by role; none twice."""
        found = {role: getattr(self, role) for role in ROLES}
        if self.text == self.sampler:
            del found["text"]
        return {role: folder for role, folder in found.items() if folder is not None}

    def copy_parts(self, folder: Path) -> None:
        """Copies the files of each part that are read into `folder`, laid out by `FOLDERS`, without model.json."""
        for role, source in self.parts.items():
            target = folder / FOLDERS.get(role, role)
            for pattern in (*_PART_FILES, *_SAFETENSORS):
                for file in source.glob(pattern):
                    (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target / file.relative_to(source))


def shipped() -> list[str]:
    """Names the models that come with the package."""
    return sorted(path.parent.name for path in _SHIPPED.glob("*/model.json"))


def resolve(name: str | os.PathLike, *, scorer: str | os.PathLike | None = None, download: bool = False) -> Bundle:
    """Finds a whole model.

    Args:
      name: a shipped model's name, a folder, or a Hugging Face id or Weights & Biases artifact laid out like such a
        folder.
      scorer: what ranks its images in place of its own scorer, or where it has none: a folder or id of a scorer, or
        of a model that has one. None leaves it as it is.
      download: whether it may be fetched; else only the local cache is looked at.

    Raises:
      ModelNotFound: nothing of that name is here; says how to get it where it can be got.
      CorruptCheckpoint: the folder is incomplete or its model.json is wrong.
      UnsupportedConfig: the scorer is none that can be used.
    """
    bundle = _whole(name, download)
    if scorer is None:
        return bundle
    return replace(bundle, scorer=scorer_of(scorer, download=download), low_score=None)


def _whole(name: str | os.PathLike, download: bool) -> Bundle:
    if isinstance(name, str) and name in shipped():
        return _read_folder(_SHIPPED / name, name)
    folder = _locate(name, download)
    return _read_folder(folder, _id_of(name, folder))


def scorer_of(name: str | os.PathLike, *, download: bool = False) -> Path:
    """The folder of a scorer that goes by its own name or by that of a model. Raises as `resolve`."""
    if name not in shipped() and ((folder := _locate(name, download)) / "config.json").is_file():
        scorers.read_config(folder)
        return folder
    scorer = _whole(name, download).scorer
    if scorer is None:
        raise ModelNotFound(
            f"{os.fspath(name)} has no scorer of its own: name another, such as openai/clip-vit-base-patch32."
        )
    return scorer


def from_parts(
    *,
    sampler: str | os.PathLike,
    codec: str | os.PathLike,
    text: str | os.PathLike | None = None,
    scorer: str | os.PathLike | None = None,
    download: bool = False,
) -> Bundle:
    """Puts a model together from folders or Hugging Face ids; sampling defaults are the family's.

    Args:
      text: None where the sampler reads the text itself.
      scorer: None where images are not to be ranked.

    Raises:
      ModelNotFound, CorruptCheckpoint: as in `resolve`.
    """
    sampler_folder, codec_folder = _locate(sampler, download), _locate(codec, download)
    return Bundle(
        id=_id_of(sampler, sampler_folder),
        sampler=sampler_folder,
        text=sampler_folder if text is None else _locate(text, download),
        codec=codec_folder,
        scorer=None if scorer is None else _locate(scorer, download),
        size=_image_size(codec_folder),
        sampling=_sampling(sampler_folder),
    )


def fetch(
    hub_id: str,
    *,
    files: Sequence[str] = (),
    accept_licence: bool = False,
    on_bytes: Callable[[int, int], None] | None = None,
) -> Path:
    """Downloads a whole model or one part, and gives its folder in the local cache.

    From Hugging Face only the files that are read are fetched, PyTorch's only where there are no Flax weights, or what
    `releases` says of a model that has to be converted; from Weights & Biases all of an artifact. A download that was
    broken off goes on where it stopped.

    Args:
      files: patterns of the files to fetch from Hugging Face in place of those.
      accept_licence: that licences which forbid something are accepted.
      on_bytes: as in `archives.fetch`.

    Raises:
      ModelNotFound: it is neither a Hugging Face id nor an artifact, or cannot be had; or other files of the same
        weights are to be taken.
      InvalidValue: its licence has to be accepted.
    """
    release = releases.find(hub_id)
    if release and release.instead:
        raise ModelNotFound(
            f"{hub_id} holds pickles, which are never read. The same weights as safetensors: "
            f"dalle-serve models download {release.instead}"
        )
    if release and release.restricts and not accept_licence:
        raise InvalidValue(
            f"The licence of {release.id} is {release.licence}: {release.restricts}. If you accept it: "
            f"dalle-serve models download {hub_id} --accept-licence",
            "accept_licence",
        )
    if release and release.archive:
        archive = release.archive
        return archives.fetch(release.id.replace("/", "--"), archive.url, archive.md5, archive.members, on_bytes)
    if files and not _is_hub_id(hub_id):
        raise InvalidValue(f"Single files come from Hugging Face only; {hub_id!r} is no id of it.", "files")
    if files := files or (release.files if release else ()):
        return _hub_folder(hub_id, download=True, files=files)
    if not (_is_hub_id(hub_id) or wandb_artifacts.is_reference(hub_id)):
        raise ModelNotFound(
            f"{hub_id!r} is no Hugging Face id (org/name or org/name@revision), nor a Weights & Biases artifact "
            "(entity/project/name:version)."
        )
    return _locate(hub_id, download=True)


def _locate(name: str | os.PathLike, download: bool) -> Path:
    folder = Path(name).expanduser()
    if os.fspath(name) and folder.is_dir():  # Path("") would be the current folder
        return folder
    if _is_hub_id(name):
        return _hub_folder(os.fspath(name), download)
    if wandb_artifacts.is_reference(name):
        return wandb_artifacts.locate(os.fspath(name), download=download)
    raise ModelNotFound(
        f"There is no model {os.fspath(name)!r}: it is not a shipped one ({', '.join(shipped()) or 'none'}), not a "
        "folder, not a Hugging Face id (org/name), and not a Weights & Biases artifact (entity/project/name:version)."
    )


def _id_of(name: str | os.PathLike, folder: Path) -> str:
    """What a model without a card is called: its folder's name, or where it was fetched from."""
    if _is_hub_id(name) or wandb_artifacts.is_reference(name):
        return os.fspath(name).replace(":", "@")
    return folder.resolve().name


def _is_hub_id(name: str | os.PathLike) -> bool:
    if not isinstance(name, str) or name.startswith(".") or Path(name).expanduser().is_dir():
        return False
    return _HUB_ID.fullmatch(name) is not None


def _hub_folder(hub_id: str, download: bool, files: Sequence[str] = ()) -> Path:
    """A repository in the local cache, with the files that a model consists of, or with `files` alone."""
    from huggingface_hub import constants, snapshot_download  # takes most of a second: only when needed

    match = _HUB_ID.fullmatch(hub_id)
    assert match is not None
    offline = constants.HF_HUB_OFFLINE

    def snapshot(parts: Iterable[str], files: Iterable[str]) -> Path:
        allowed = ["model.json", *files, *(f"{part}/{file}" for part in parts for file in files)]
        return Path(
            snapshot_download(
                match[1], revision=match[2], allow_patterns=allowed, local_files_only=offline or not download
            )
        )

    try:
        if files:
            return _with_all(snapshot((), files), hub_id, files)
        parts = set(FOLDERS.values())
        folder = snapshot(parts, _PART_FILES)
        if named := set(_named_parts(folder).values()) - parts:
            parts |= named
            folder = snapshot(parts, _PART_FILES)
        if any(not (config.parent / FLAX_WEIGHTS).exists() for config in folder.rglob("config.json")):
            folder = snapshot(parts, (*_PART_FILES, *_SAFETENSORS))
        if download and not any(found for name in (FLAX_WEIGHTS, *_SAFETENSORS) for found in folder.rglob(name)):
            raise ValueError(
                f"it has no weights that are read ({FLAX_WEIGHTS}, {SAFETENSORS_WEIGHTS}). PyTorch's files are fetched "
                "by name, and converted: --file"
            )
        return folder
    except (OSError, ValueError) as err:  # the hub's own errors are all among these
        if download and not offline:
            raise ModelNotFound(f"{hub_id} could not be downloaded from Hugging Face: {err}") from err
        how = f"Download it with: dalle-serve models download {hub_id}"
        if offline:
            how = f"HF_HUB_OFFLINE is set; unset it and then: dalle-serve models download {hub_id}"
        raise ModelNotFound(f"There is no folder {hub_id}, and {hub_id} has not been downloaded. {how}") from err


def _with_all(folder: Path, hub_id: str, files: Sequence[str]) -> Path:
    """The folder, where it has a file for each pattern; ValueError where it lacks one."""
    if missing := [pattern for pattern in files if not any(folder.glob(pattern))]:
        raise ValueError(f"{hub_id} has no {', '.join(missing)}.")
    return folder


def _read_folder(folder: Path, default_id: str) -> Bundle:
    named = _named_parts(folder)
    own = {"sampler": "", "codec": ""} if _is_all_in_one(folder) else {}
    names = {**FOLDERS, **own, **named}
    if "scorer" not in named and not (folder / names["scorer"]).is_dir():
        del names["scorer"]
    for role, name in names.items():
        if not (folder / name).is_dir():
            refuse_pickles(folder)
            raise CorruptCheckpoint(
                f"{folder} is not a model's folder: it holds no {name}/, its {role}. A model's folder holds "
                "dalle_bart/, vqgan/, clip/ (optional) and model.json, or the parts that model.json names; parts that "
                "are kept apart are given one by one."
            )
    parts = {role: folder / name for role, name in names.items()}
    parts = {"text": parts["sampler"], "scorer": None, **parts}
    for kind, files in FILES.items():
        parts[kind] = next((folder / name for name in files if (folder / name).is_file()), None)
    if (folder / "model.json").exists():
        return Bundle(**parts, **_read_card(folder))
    known = releases.find(default_id)
    return Bundle(
        id=default_id,
        **parts,
        size=_image_size(parts["codec"]),
        sampling=_sampling(parts["sampler"]),
        licence=known.licence if known else "unknown",
    )


def _is_all_in_one(folder: Path) -> bool:
    """Whether one config.json describes sampler and codec."""
    if not (folder / "config.json").is_file():
        return False
    kind = read_json(folder, "config.json").get("model_type")
    return kind in families.FAMILIES and kind in codecs.CODECS


def _sampling(sampler: Path) -> dict[str, Any]:
    """What a family draws with where no model.json says otherwise."""
    return dict(families.read_config(sampler).default_sampling)


def _named_parts(folder: Path) -> dict[str, str]:
    """The folders that model.json names, by role: below its own."""
    path = folder / "model.json"
    named = read_json(folder, path.name).get("parts", {}) if path.exists() else {}
    if not isinstance(named, dict) or not named.keys() <= ROLES.keys():
        raise CorruptCheckpoint(f"{path}: parts must be an object of {', '.join(ROLES)}; got {named!r}.")
    for role, name in named.items():
        steps = Path(name).parts if isinstance(name, str) else ()
        if not steps or ".." in steps or Path(name).is_absolute():
            raise CorruptCheckpoint(f"{path}: parts.{role} must name a folder beside it; got {name!r}.")
    return named


def _read_card(folder: Path) -> dict[str, Any]:
    """Reads model.json, all of the right type; what `Bundle` has a default for may be missing."""
    card, path = read_json(folder, "model.json"), folder / "model.json"
    fields = {"id": str, "licence": str, "size": int, "sampling": dict, "description": str}
    _check_types(path, card, fields)
    _check_types(path, card["sampling"], _SAMPLING, "sampling.")
    if unknown := sorted(set(card["sampling"]) - set(_SAMPLING)):
        raise CorruptCheckpoint(
            f"{path}: sampling has unknown keys {', '.join(unknown)}; known: {', '.join(_SAMPLING)}."
        )
    if not card["id"].strip() or card["size"] < 1:
        raise CorruptCheckpoint(f"{path}: id must not be empty and size must be positive.")
    lists = {key: card.get(key, default) for key, default in _LISTS.items()}
    for key, words in lists.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise CorruptCheckpoint(f"{path}: {key} must be a list of str; got {words!r}.")
    window = card.get("window", 1)
    if type(window) is not int or window < 1:
        raise CorruptCheckpoint(f"{path}: window must be an integer from 1 on; got {window!r}.")
    plain_ground = card.get("plain_ground", False)
    if type(plain_ground) is not bool:
        raise CorruptCheckpoint(f"{path}: plain_ground must be true or false; got {plain_ground!r}.")
    low_score = card.get("low_score")
    if low_score is not None:
        _check_types(path, {"low_score": low_score}, {"low_score": float})
    found = {key: tuple(words) for key, words in lists.items()}
    return (
        {key: card[key] for key in fields}
        | found
        | {"ranges": _read_ranges(path, card), "window": window, "plain_ground": plain_ground, "low_score": low_score}
    )


def _read_ranges(path: Path, card: dict[str, Any]) -> dict[str, list[float]]:
    ranges = card.get("ranges", {})
    if not isinstance(ranges, dict) or not ranges.keys() <= _SAMPLING.keys():
        raise CorruptCheckpoint(f"{path}: ranges must be an object of {', '.join(_SAMPLING)}; got {ranges!r}.")
    for name, ends in ranges.items():
        if not isinstance(ends, list) or len(ends) != 2:
            raise CorruptCheckpoint(f"{path}: ranges.{name} must be a list of two numbers; got {ends!r}.")
        _check_types(path, {"0": ends[0], "1": ends[1]}, {"0": float, "1": float}, f"ranges.{name}.")
        if ends[0] > ends[1]:
            raise CorruptCheckpoint(f"{path}: ranges.{name} must have the lower number first; got {ends!r}.")
    return ranges


def _check_types(path: Path, content: dict[str, Any], types: Mapping[str, type], prefix: str = "") -> None:
    for key, wanted in types.items():
        if key not in content:
            raise CorruptCheckpoint(f"{path} lacks {prefix}{key} ({wanted.__name__}).")
        got = type(content[key])
        is_number = got in (int, float) and abs(content[key]) <= 3e38  # JSON writes 10 for 10.0; true is no number
        if not is_number if wanted is float else got is not wanted:
            raise CorruptCheckpoint(f"{path}: {prefix}{key} must be {wanted.__name__}; got {content[key]!r}.")


def _image_size(codec: Path) -> int:
    height, width = codecs.read_config(codec).size
    if height != width:
        raise CorruptCheckpoint(f"{codec}/config.json: pictures are {width} × {height} pixels; only squares are drawn.")
    return height
