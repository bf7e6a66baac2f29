"""Names → folders, with nothing fetched unless asked for."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from model_core import bundles, codecs
from model_core.errors import CorruptCheckpoint, ModelNotFound, UnsupportedConfig
from model_core.shipped.concepts import read_concepts

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
VQGAN, DALLE_BART = FIXTURES / "vqgan-tiny", FIXTURES / "dalle-tiny"
CARD = {
    "id": "tiny",
    "licence": "CC0-1.0",
    "size": 32,
    "sampling": {"guidance_scale": 4, "temperature": 0.7, "top_k": 64, "top_p": 1.0},
    "description": "A test.",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """An empty cache, and downloads that fail the test."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: pytest.fail("asked the network"))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    for part in ("dalle_bart", "clip"):
        (path / part).mkdir(parents=True)
    (path / "vqgan").mkdir()
    shutil.copy(VQGAN / "config.json", path / "vqgan")
    shutil.copy(DALLE_BART / "config.json", path / "dalle_bart")
    (path / "model.json").write_text(json.dumps(CARD))
    return path


def cache(tmp_path: Path, repo: str, files: list[str], commit: str = "a" * 40, ref: str = "main") -> Path:
    """Lays a repository out as huggingface_hub does."""
    root = tmp_path / "cache" / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    for file in files:
        config = (DALLE_BART if "dalle" in f"{repo}/{file}" else VQGAN) / "config.json"
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).write_text(config.read_text() if file.endswith("config.json") else "{}")
    (root / "refs").mkdir()
    (root / "refs" / ref).write_text(commit)
    return snapshot


def test_folder_with_a_card(folder):
    bundle = bundles.resolve(folder)
    assert bundle == bundles.Bundle(
        id="tiny",
        sampler=folder / "dalle_bart",
        text=folder / "dalle_bart",
        codec=folder / "vqgan",
        scorer=folder / "clip",
        size=32,
        sampling=CARD["sampling"],
        licence="CC0-1.0",
        description="A test.",
    )
    assert bundles.resolve(str(folder)) == bundle


def test_a_card_may_say_what_to_begin_with(folder):
    (folder / "model.json").write_text(json.dumps(CARD | {"example_prompts": ["an avocado"]}))
    assert bundles.resolve(folder).example_prompts == ("an avocado",)
    (folder / "model.json").write_text(json.dumps(CARD | {"example_prompts": "an avocado"}))
    with pytest.raises(CorruptCheckpoint, match="example_prompts must be a list"):
        bundles.resolve(folder)


def test_a_card_may_say_what_the_model_knows(folder):
    assert bundles.resolve(folder).known_prompts == ()
    known = {"known_things": ["fox", "hat"]}
    (folder / "model.json").write_text(json.dumps(CARD | known))
    assert bundles.resolve(folder).known_prompts == ("fox", "hat")
    (folder / "model.json").write_text(json.dumps(CARD | known | {"known_ways": ["{}", "{} at night"]}))
    assert bundles.resolve(folder).known_prompts == ("fox", "fox at night", "hat", "hat at night")
    for wrong in ({"known_things": "fox"}, {"known_ways": [1]}):
        (folder / "model.json").write_text(json.dumps(CARD | wrong))
        with pytest.raises(CorruptCheckpoint, match=f"{next(iter(wrong))} must be a list"):
            bundles.resolve(folder)


def test_a_card_may_say_which_scores_are_low_for_its_own_scorer_alone(folder):
    assert bundles.resolve(folder).low_score is None
    (folder / "model.json").write_text(json.dumps(CARD | {"low_score": 21.5}))
    assert bundles.resolve(folder).low_score == 21.5
    assert bundles.resolve(folder, scorer="emoji").low_score is None
    (folder / "model.json").write_text(json.dumps(CARD | {"low_score": "low"}))
    with pytest.raises(CorruptCheckpoint, match="low_score"):
        bundles.resolve(folder)


def test_a_card_may_say_that_the_model_draws_on_a_plain_ground(folder):
    assert bundles.resolve(folder).plain_ground is False
    assert bundles.resolve("emoji").plain_ground is True
    for wrong in ("white", 1, None):
        (folder / "model.json").write_text(json.dumps(CARD | {"plain_ground": wrong}))
        with pytest.raises(CorruptCheckpoint, match="plain_ground must be true or false"):
            bundles.resolve(folder)


def test_a_card_may_say_what_values_draw_well(folder):
    assert bundles.resolve(folder).ranges == {}
    (folder / "model.json").write_text(json.dumps(CARD | {"ranges": {"guidance_scale": [1, 1.75]}}))
    assert bundles.resolve(folder).ranges == {"guidance_scale": [1, 1.75]}
    for wrong, said in (
        ([1, 2], "must be an object of guidance_scale"),
        ({"seed": [1, 2]}, "must be an object of guidance_scale"),
        ({"top_k": 5}, "ranges.top_k must be a list of two numbers"),
        ({"top_k": [5, "6"]}, "ranges.top_k.1 must be float"),
        ({"top_k": [6, 5]}, "ranges.top_k must have the lower number first"),
    ):
        (folder / "model.json").write_text(json.dumps(CARD | {"ranges": wrong}))
        with pytest.raises(CorruptCheckpoint, match=said):
            bundles.resolve(folder)


def test_what_tells_about_a_model_is_found(folder):
    assert bundles.resolve(folder).card is None
    for name in ("README.md", "MODEL_CARD.md"):
        (folder / name).write_text("A model.")
        assert bundles.resolve(folder).card == folder / name
    assert bundles.resolve("emoji").card
    assert bundles.resolve(folder).known_pictures is None
    (folder / "known.webp").write_bytes(b"pictures")
    assert bundles.resolve(folder).known_pictures == folder / "known.webp"


def test_a_card_may_say_how_many_codes_a_step_should_try(folder):
    assert bundles.resolve(folder).window == 1
    (folder / "model.json").write_text(json.dumps(CARD | {"window": 8}))
    assert bundles.resolve(folder).window == 8
    for wrong in (0, "8", 2.5, True, None):
        (folder / "model.json").write_text(json.dumps(CARD | {"window": wrong}))
        with pytest.raises(CorruptCheckpoint, match="window must be an integer from 1 on"):
            bundles.resolve(folder)


def test_the_shipped_model_says_what_to_begin_with():
    bundle = bundles.resolve("emoji")
    assert len(bundle.example_prompts) == 24
    known = [concept.name for concept in read_concepts()[:240]]
    assert bundle.known_prompts[::11] == tuple(known)
    assert bundle.known_prompts[:3] == ("avocado", "avocado on a red background", "avocado on an orange background")


def test_folder_without_a_card_has_the_reference_defaults(folder):
    (folder / "model.json").unlink()
    (folder / "clip").rmdir()
    bundle = bundles.resolve(folder)
    assert (bundle.id, bundle.scorer, bundle.size, bundle.licence) == ("model", None, 32, "unknown")
    assert bundle.sampling == {"guidance_scale": 10.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0}


def test_every_shipped_model_resolves(monkeypatch, folder):
    monkeypatch.setattr(bundles, "_SHIPPED", folder.parent)
    assert bundles.shipped() == ["model"]
    assert bundles.resolve("model").sampler == folder / "dalle_bart"
    monkeypatch.undo()
    for name in bundles.shipped():
        assert bundles.resolve(name).id == name


@pytest.mark.parametrize("part", ["dalle_bart", "vqgan"])
def test_folder_without_a_part_is_refused(folder, part):
    shutil.rmtree(folder / part)
    with pytest.raises(CorruptCheckpoint, match=f"holds no {part}/"):
        bundles.resolve(folder)


@pytest.mark.parametrize("key", CARD)
def test_missing_card_key_is_named(folder, key):
    (folder / "model.json").write_text(json.dumps({k: v for k, v in CARD.items() if k != key}))
    with pytest.raises(CorruptCheckpoint, match=rf"model\.json lacks {key}"):
        bundles.resolve(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "32"}, "size must be int; got '32'"),
        ({"size": 0}, "size must be positive"),
        ({"id": " "}, "id must not be empty"),
        ({"sampling": {}}, r"lacks sampling\.guidance_scale"),
        ({"sampling": CARD["sampling"] | {"top_k": 1.5}}, r"sampling\.top_k must be int; got 1\.5"),
        ({"sampling": CARD["sampling"] | {"top_p": float("nan")}}, r"sampling\.top_p must be float; got nan"),
        ({"sampling": CARD["sampling"] | {"guidance_scale": 10**400}}, r"sampling\.guidance_scale must be float"),
        ({"sampling": CARD["sampling"] | {"temperature": True}}, r"sampling\.temperature must be float; got True"),
        ({"sampling": CARD["sampling"] | {"cfg": 1}}, "unknown keys cfg"),
    ],
)
def test_wrong_card_value_is_named(folder, changes, message):
    (folder / "model.json").write_text(json.dumps(CARD | changes))
    with pytest.raises(CorruptCheckpoint, match=message):
        bundles.resolve(folder)


def test_parts_from_three_folders(folder):
    bundle = bundles.from_parts(sampler=folder / "dalle_bart", codec=str(VQGAN))
    assert (bundle.id, bundle.codec, bundle.scorer, bundle.size) == ("dalle_bart", VQGAN, None, 32)
    assert bundles.from_parts(sampler=DALLE_BART, codec=VQGAN, scorer=folder / "clip").scorer == folder / "clip"


def test_a_scorer_may_be_named_beside_a_model(folder, tmp_path):
    own, other = bundles.resolve(folder), FIXTURES / "clip-tiny"
    assert own.scorer == folder / "clip"
    assert bundles.resolve(folder, scorer=other) == replace(own, scorer=other)
    assert bundles.resolve(folder, scorer="emoji").scorer == bundles.resolve("emoji").scorer
    shutil.rmtree(folder / "clip")
    assert bundles.resolve(folder, scorer=str(other)).scorer == other
    with pytest.raises(ModelNotFound, match="model has no scorer of its own"):
        bundles.resolve("emoji", scorer=folder)
    with pytest.raises(ModelNotFound, match="dalle-serve models download openai/clip-vit-base-patch32"):
        bundles.resolve("emoji", scorer="openai/clip-vit-base-patch32")
    with pytest.raises(UnsupportedConfig, match="'dallebart'; here only clip"):
        bundles.resolve("emoji", scorer=DALLE_BART)


def test_a_published_model_says_its_licence(tmp_path):
    snapshot = cache(tmp_path, "deepseek-community/Janus-Pro-1B", ["config.json"])
    shutil.copytree(FIXTURES / "janus-tiny", snapshot, dirs_exist_ok=True)
    bundle = bundles.resolve("deepseek-community/Janus-Pro-1B")
    assert bundle.licence.startswith("DeepSeek Model License") and bundle.size == 12


def test_a_card_may_name_other_folders(folder):
    (folder / "dalle_bart").rename(folder / "gpt")
    (folder / "words").mkdir()
    (folder / "model.json").write_text(json.dumps(CARD | {"parts": {"sampler": "gpt", "text": "words"}}))
    bundle = bundles.resolve(folder)
    assert (bundle.sampler, bundle.text, bundle.scorer) == (folder / "gpt", folder / "words", folder / "clip")
    assert list(bundle.parts) == ["sampler", "text", "codec", "scorer"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["gpt"], "parts must be an object"),
        ({"painter": "gpt"}, "parts must be an object of sampler, text, codec, scorer"),
        ({"sampler": "../gpt"}, r"parts\.sampler must name a folder beside it; got '\.\./gpt'"),
        ({"codec": None}, r"parts\.codec must name"),
        ({"scorer": "siglip"}, "holds no siglip/, its scorer"),
    ],
)
def test_wrong_parts_are_refused(folder, parts, message):
    (folder / "model.json").write_text(json.dumps(CARD | {"parts": parts}))
    with pytest.raises(CorruptCheckpoint, match=message):
        bundles.resolve(folder)


@pytest.mark.parametrize("name", ["nothing", "./org/name", "../name", "/no/such/folder", "a/b/c", ""])
def test_unknown_name_is_not_found(name):
    with pytest.raises(ModelNotFound, match="There is no model"):
        bundles.resolve(name)


def test_hub_id_that_is_not_here_says_how_to_get_it():
    with pytest.raises(ModelNotFound, match=r"dalle-serve models download org/name$"):
        bundles.resolve("org/name")
    with pytest.raises(ModelNotFound, match=r"dalle-serve models download org/name@v2$"):
        bundles.from_parts(sampler="org/name@v2", codec=VQGAN)


def test_offline_is_honoured_even_when_asked_to_download(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="HF_HUB_OFFLINE is set; unset it"):
        bundles.resolve("org/name", download=True)


def test_parts_are_found_in_the_local_cache(tmp_path):
    dalle_bart = cache(tmp_path, "org/dalle", ["config.json", "flax_model.msgpack"])
    vqgan = cache(tmp_path, "org/vqgan", ["config.json", "flax_model.msgpack"], ref="v2")
    clip = cache(tmp_path, "org/clip", ["config.json", "model.safetensors"])
    bundle = bundles.from_parts(sampler="org/dalle", codec="org/vqgan@v2", scorer="org/clip")
    assert (bundle.sampler, bundle.codec, bundle.scorer) == (dalle_bart, vqgan, clip)
    assert bundle.id == "org/dalle"


def test_whole_model_is_found_in_the_local_cache(tmp_path):
    parts = [f"{part}/{file}" for part in bundles.FOLDERS.values() for file in ("config.json", "flax_model.msgpack")]
    snapshot = cache(tmp_path, "org/model", parts)
    bundle = bundles.resolve("org/model")
    assert (bundle.id, bundle.scorer) == ("org/model", snapshot / "clip")


def test_single_part_is_no_whole_model(tmp_path):
    cache(tmp_path, "org/dalle", ["config.json", "flax_model.msgpack"])
    with pytest.raises(CorruptCheckpoint, match="not a model's folder"):
        bundles.resolve("org/dalle")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that holds `hub.files`: "downloads" those that the patterns allow, and notes what was asked."""

    class Hub:
        files = ("config.json", "flax_model.msgpack", "model.safetensors", "pytorch_model.bin", "vocab.json")

        def __init__(self):
            self.asked: list[dict] = []

        def download(self, repo: str, **options: object) -> str:
            self.asked.append(options)
            for file in huggingface_hub.utils.filter_repo_objects(
                list(self.files), allow_patterns=options["allow_patterns"]
            ):
                (tmp_path / "got" / file).parent.mkdir(parents=True, exist_ok=True)
                content = (DALLE_BART / "config.json").read_text() if file.endswith("config.json") else "{}"
                (tmp_path / "got" / file).write_text(content)
            return str(tmp_path / "got")

        def got(self) -> set[str]:
            return {str(p.relative_to(tmp_path / "got")) for p in (tmp_path / "got").rglob("*") if p.is_file()}

    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.download)
    return hub


def test_download_takes_only_what_is_read(hub):
    bundles.fetch("org/clip@abc")
    assert hub.got() == {"config.json", "flax_model.msgpack", "vocab.json"}
    assert [(ask["revision"], ask["local_files_only"]) for ask in hub.asked] == [("abc", False)]


def test_download_takes_safetensors_where_there_are_no_flax_weights(hub):
    hub.files = ("config.json", "model.safetensors", "pytorch_model.bin", "model.fp16.safetensors")
    bundles.fetch("org/clip")
    assert hub.got() == {"config.json", "model.safetensors"}


def test_download_of_a_whole_model_takes_each_part(hub):
    whole = [f"{part}/{file}" for part in ("dalle_bart", "vqgan") for file in ("config.json", "flax_model.msgpack")]
    hub.files = (
        "model.json",
        *whole,
        "clip/config.json",
        "clip/model.safetensors",
        "clip/x.bin",
        "evil.py",
        "a/config.json",
    )
    bundles.fetch("org/model")
    assert hub.got() == {"model.json", *whole, "clip/config.json", "clip/model.safetensors"}


def test_download_of_a_whole_model_takes_the_parts_that_its_card_names(hub, monkeypatch):
    monkeypatch.setattr(bundles, "_named_parts", lambda _: {"sampler": "gpt"})
    hub.files = ("model.json", "gpt/config.json", "gpt/flax_model.msgpack", "vqgan/config.json", "a/config.json")
    bundles.fetch("org/model")
    assert hub.got() == {"model.json", "gpt/config.json", "gpt/flax_model.msgpack", "vqgan/config.json"}


def test_nothing_is_downloaded_unless_asked(hub):
    bundles.from_parts(sampler=DALLE_BART, codec=VQGAN, scorer="org/a")
    assert [ask["local_files_only"] for ask in hub.asked] == [True]
    bundles.from_parts(sampler=DALLE_BART, codec=VQGAN, scorer="org/a", download=True)
    assert [ask["local_files_only"] for ask in hub.asked] == [True, False]


def test_failed_download_says_why(monkeypatch):
    def fail(*_: object, **__: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelNotFound, match="could not be downloaded from Hugging Face: disk full"):
        bundles.fetch("org/name")
    with pytest.raises(ModelNotFound, match="no Hugging Face id"):
        bundles.fetch("name")


def test_a_card_may_name_folders_below_others(folder):
    (folder / "t5" / "xl").mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(CARD | {"parts": {"text": "t5/xl"}}))
    assert bundles.resolve(folder).text == folder / "t5" / "xl"


@pytest.fixture
def janus(tmp_path, monkeypatch):
    """A folder that is sampler and codec itself, beside a scorer; the codec is another's here."""
    path = tmp_path / "janus"
    shutil.copytree(FIXTURES / "janus-tiny", path, ignore=shutil.ignore_patterns("goldens*"))
    monkeypatch.setitem(codecs.CODECS, "janus", "vqgan")
    monkeypatch.setattr(bundles, "_image_size", lambda _: 12)
    return path


def test_one_folder_may_be_sampler_and_codec(janus):
    bundle = bundles.resolve(janus)
    assert (bundle.sampler, bundle.text, bundle.codec, bundle.scorer, bundle.size) == (janus, janus, janus, None, 12)
    assert list(bundle.parts) == ["sampler", "codec"]
    assert bundle.sampling["guidance_scale"] == 5
    (janus / "clip").mkdir()
    assert bundles.resolve(janus).scorer == janus / "clip"


def test_one_folder_may_have_a_card_too(janus):
    (janus / "model.json").write_text(json.dumps(CARD))
    bundle = bundles.resolve(janus)
    assert (bundle.id, bundle.codec, bundle.sampling) == ("tiny", janus, CARD["sampling"])


def test_a_folder_that_is_a_sampler_alone_is_no_whole_model(janus, monkeypatch):
    monkeypatch.delitem(codecs.CODECS, "janus")
    with pytest.raises(CorruptCheckpoint, match="not a model's folder"):
        bundles.resolve(janus)


def test_a_model_in_several_files_is_downloaded_whole(hub):
    shards = [f"model-{i:05}-of-00002.safetensors" for i in (1, 2)]
    files = ("config.json", "model.safetensors.index.json", *shards, "tokenizer.json", "processor_config.json")
    hub.files = (*files, "pytorch_model-00001-of-00002.bin", "training_args.bin", "tf_model-1-of-2.h5")
    bundles.fetch("org/janus")
    assert hub.got() == set(files)
