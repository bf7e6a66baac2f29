"""`dalle-serve train …`: from a data set to a model that can be served, on the command line."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model_core.allocator import keep_memory

app = typer.Typer(no_args_is_help=True)
data_app = typer.Typer(no_args_is_help=True, help="Build a data set.")
app.add_typer(data_app, name="data")
console = Console()
SHOWN = 10  # of the pictures left out


@app.callback()
def prepare(
    coordinator: Annotated[str | None, typer.Option(help="host:port of process 0, where there are several.")] = None,
    num_processes: Annotated[int, typer.Option(min=1, help="How many processes train together.")] = 1,
    process: Annotated[int, typer.Option(min=0, help="Which of them this is.")] = 0,
) -> None:
    """Train the models: data, then codec, decoder, sampler, clip, then export."""
    keep_memory()  # before anything heavy is imported
    if coordinator:
        from model_core.training.devices import connect

        connect(coordinator, num_processes, process)


DataFolder = Annotated[Path, typer.Option("--data", help="A data set made by `train data …`.")]
RunFolder = Annotated[Path, typer.Option("--run", help="Folder of the training run; an existing one is resumed.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A value of the recipe, as name=value; may be given again.")
]
PresetName = Annotated[
    str,
    typer.Option("--preset", help="Sizes and recipe: emoji, smoke (tiny, seconds), mini-reference or mega-reference."),
]


@data_app.command("folder")
def build_folder_data(
    images: Annotated[Path, typer.Argument(help="Pictures with .txt captions, captions.csv or .jsonl, or tar files.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new data set.")],
    size: Annotated[int, typer.Option(help="Side of the pictures, in pixels.")] = 128,
    validation: Annotated[float, typer.Option(help="Share of the concepts that is kept back to measure with.")] = 0.0,
) -> None:
    """Turn your own captioned pictures into a data set."""
    from model_core.training.folder import LEFT_OUT, build_folder

    report = build_folder(images, out, size, validation)
    console.print(f"{report.num_items} pictures in {out}, {report.num_validation} of them for validation")
    if report.num_duplicates:
        console.print(f"  {report.num_duplicates} equal to one of these: their captions were added to it")
    if report.skipped:
        console.print(f"  {len(report.skipped)} left out, all listed in {out / LEFT_OUT}:")
    for name, reason in report.skipped[:SHOWN]:
        console.print(f"    {name}: {reason}", markup=False)


@data_app.command("encode")
def encode_data(
    source: Annotated[Path, typer.Argument(help="Captioned pictures as for `data folder`, or a data set.")],
    out: Annotated[Path, typer.Argument(help="Folder of the encoded data set; one that is there is gone on with.")],
    model: Annotated[str, typer.Option(help="Whose codec spells the pictures: a run's model, or any other.")],
    shard: Annotated[int, typer.Option(help="Pictures of the source in a shard.")] = 4096,
    part: Annotated[str, typer.Option(help="Which shards to make here, as 0/4 on the first of four machines.")] = "0/1",
    min_side: Annotated[int, typer.Option(help="Pixels of a picture's shorter side.")] = 1,
    min_score: Annotated[float | None, typer.Option(help="Of a picture with its caption, by the model's CLIP.")] = None,
    wanted: Annotated[
        str, typer.Option("--filter", help="Your own module:function of (picture, caption); false leaves it out.")
    ] = "",
) -> None:
    """Spell pictures with image codes once and for all, in shards that training maps into memory."""
    from model_core.training.encoding import EncodeSettings, encode

    numbers = part.split("/")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise typer.BadParameter(f"must be like 0/4, the first of four; got {part!r}.", param_hint="--part")
    settings = EncodeSettings(
        shard=shard,
        part=int(numbers[0]),
        parts=int(numbers[1]),
        min_side=min_side,
        min_score=min_score,
        wanted=wanted,
    )
    dataset = encode(source, out, model, settings, console.print)
    console.print(f"{len(dataset)} pictures in {out}; {out / 'statistics.md'} tells about them")


@app.command("start")
def start(
    model: Annotated[str, typer.Argument(help="A shipped model, a model's folder, or a downloaded Hugging Face id.")],
    run: Annotated[Path, typer.Option("--run", help="Folder of the new training run.")],
    fresh: Annotated[
        bool, typer.Option("--fresh", help="What draws codes keeps its sizes and tokenizer, and no weights.")
    ] = False,
    fresh_codec: Annotated[
        bool, typer.Option("--fresh-codec", help="The codec keeps its sizes, and no weights.")
    ] = False,
) -> None:
    """Begin a run with a model that is there, of any family, whose parts the other commands then train further."""
    from model_core.training.start import start_from

    start_from(model, run, fresh=fresh, fresh_codec=fresh_codec)
    console.print(f"{run} starts from {model}")


@app.command("vqgan", hidden=True)  # as it is called where the codec is DALL·E mini's
@app.command("codec")
def train_codec(data: DataFolder, run: RunFolder, preset: PresetName = "emoji", settings: Settings = None) -> None:
    """Learn to spell pictures with image codes: a VQGAN, or the VQGAN or dVAE that the run starts from.

    With --set adversarial_weight=0.8 its pictures must fool a discriminator as well; with --set perceptual_weight=1
    they must look like the real ones to a CLIP.
    """
    _open(data, run, preset, "codec", settings).train_codec()


@app.command("decoder")
def train_decoder(data: DataFolder, run: RunFolder, preset: PresetName = "emoji", settings: Settings = None) -> None:
    """Draw pixels from the codes better, without changing the codes; may run at any time after codec."""
    _open(data, run, preset, "codec", settings).train_decoder()


@app.command("dalle-bart", hidden=True)  # as it is called where the family is DALL·E mini's
@app.command("sampler")
def train_sampler(
    data: Annotated[Path, typer.Option("--data", help="A data set made by `train data …`, encoded or not.")],
    run: RunFolder,
    preset: PresetName = "emoji",
    settings: Settings = None,
    validate: Annotated[
        list[Path] | None,
        typer.Option("--validate", help="Another data set to measure on, every validate_every steps; may be repeated."),
    ] = None,
) -> None:
    """Learn to draw the codes of a prompt: a DalleBart, or whatever the run starts from."""
    sets = [open_data(folder) for folder in validate or []]
    _open(data, run, preset, "sampler", settings).train_sampler(sets)


@app.command("clip")
def train_clip(data: DataFolder, run: RunFolder, preset: PresetName = "emoji", settings: Settings = None) -> None:
    """Learn to judge how well a picture shows a prompt."""
    _open(data, run, preset, "clip", settings).train_clip()


@app.command("export")
def export(
    data: DataFolder,
    run: RunFolder,
    preset: PresetName = "emoji",
    name: Annotated[str | None, typer.Option("--id", help="The model's name in requests. Else the run's.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights. Else unknown.")] = None,
    description: Annotated[str | None, typer.Option(help="What it draws, for `models` and the page.")] = None,
    emissions: Annotated[
        float | None,
        typer.Option(min=0, help="Grams of CO2 equivalent a kWh where it was trained: say what it emitted."),
    ] = None,
    watts: Annotated[
        float | None,
        typer.Option(min=0, help="What all its devices take together, for hours in which nothing measured it."),
    ] = None,
) -> None:
    """Write the model's folder, as far as training has come, and what it took in model.json."""
    card = {"id": name, "licence": licence, "description": description}
    given = {key: value for key, value in card.items() if value is not None}
    _tell(_open(data, run, preset).export(given, watts=watts, grams_per_kwh=emissions))


@app.command("all")
def train_all(data: DataFolder, run: RunFolder, preset: PresetName = "emoji") -> None:
    """Everything after the data: codec, decoder, sampler, clip, export."""
    training = _open(data, run, preset)
    for train in (training.train_codec, training.train_decoder, training.train_sampler, training.train_clip):
        train()
    _tell(training.export())


def open_data(folder: Path):
    """A data set of pictures or of codes; its import is delayed so that `--help` is quick."""
    from model_core.training.data import Dataset
    from model_core.training.encoded import EncodedDataset, is_encoded

    return EncodedDataset(folder) if is_encoded(folder) else Dataset.open(folder)


def _tell(model: Path) -> None:
    """Says where the model is, and what training it took."""
    from model_core.training.footprint import in_words
    from model_core.weights.json_files import read_json

    console.print(f"model in {model}")
    if took := read_json(model, "model.json").get("training"):
        console.print(f"trained {in_words(took)}", soft_wrap=True)


def _open(data: Path, run: Path, preset: str, part: str = "", settings: list[str] | None = None):
    """The run, with its imports delayed; `settings` are of the preset's recipe for `part`."""
    from model_core.families.dalle_bart.config import DalleBartConfig
    from model_core.training.codecs.kinds import name_of
    from model_core.training.presets import PRESETS
    from model_core.training.run import TrainingRun
    from model_core.training.settings import with_settings

    if preset not in PRESETS:
        raise typer.BadParameter(f"{preset!r} is not one of {', '.join(PRESETS)}.", param_hint="--preset")
    training = TrainingRun(run, open_data(data), PRESETS[preset])
    if settings:
        is_bart = isinstance(training.preset.dalle_bart, DalleBartConfig)
        if part == "codec":
            part = name_of(training.preset.vqgan)
        recipe = f"{('dalle_bart' if is_bart else 'decoder') if part == 'sampler' else part}_recipe"
        changed = with_settings(getattr(training.preset, recipe), settings)
        training.preset = dataclasses.replace(training.preset, **{recipe: changed})
    return training
