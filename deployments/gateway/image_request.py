"""One request on its way: its fields become what the pipeline draws, and what it drew becomes files."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from deployments.config import AppConfig
from deployments.errors import DeadlineExceeded
from deployments.flow.previews import Preview
from deployments.gateway.admission import Admission
from deployments.gateway.canvas import Canvas, read_canvas
from deployments.gateway.image_check import ImageCheck
from deployments.gateway.replies import Event, usage
from deployments.gateway.served_model import ServedModel
from deployments.requests.parsing import parse_size
from deployments.requests.schemas import DrawingRequest, EditRequest, Upload, VariationRequest
from deployments.telemetry import degraded
from model_core.errors import InvalidValue
from model_core.families.conditions import EncodedPrompt
from model_core.pictures import editing, images
from model_core.pictures.content_credentials import CredentialSigner
from model_core.pictures.plain_ground import clear_ground
from model_core.sampler.sequence import SEEDS, Sampling
from model_core.scorers.ranking import RankedImage
from model_core.vocabulary import low_score_warning

logger = logging.getLogger("ray.serve")

SIGNATURES = "content_credentials"  # their name where they fail
NOTED_CHARS = 2000  # of a prompt in an image file: EXIF has room for 64 KB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What is known before anything is drawn."""

    encoded: EncodedPrompt
    canvas: Canvas | None = None
    repaint: np.ndarray | None = None
    fixed_codes: np.ndarray | None = None


class ImageRequest:
    """A request that was checked, with the files that it has, and the model that draws it.

    Attributes:
      is_complete: whether it would be answered the same again: nothing had to be done without.

    Args:
      may_keep: whether anything of it may be kept for others.
      is_batch: whether it is drawn only where there is room.

    Raises:
      InvalidValue: the size or the background cannot be had, or the model cannot be drawn with as it is asked for.
    """

    def __init__(
        self,
        request: DrawingRequest,
        upload: Upload | None,
        model: ServedModel,
        config: AppConfig,
        signer: CredentialSigner | None = None,
        warning: str = "",
        *,
        may_keep: bool = True,
        is_batch: bool = False,
    ):
        self._request = request
        self._is_batch = is_batch
        self._may_keep = may_keep
        self._prompt = request.prompt  # what a picture without words shows is told by the scorer
        self._upload = upload
        self._model = model
        self._config = config
        self._width, self._height = parse_size(request.size, model.side, config.limits)
        self._clears_ground = request.background == "transparent"
        if self._clears_ground and not model.bundle.plain_ground:
            raise InvalidValue(
                f"{model.id} does not draw on a plain ground, which alone could be cleared: leave background out.",
                "background",
            )
        self._kept_grounds: list[int] = []  # seeds of images whose ground is not plain after all
        first = request.seed if request.seed is not None else secrets.randbelow(SEEDS)
        self._seeds = [(first + i) % SEEDS for i in range(request.num_drawn)]
        given = {field.name: getattr(request, field.name) for field in fields(Sampling)}
        given = {name: value for name, value in given.items() if value is not None}
        self._sampling = Sampling(**model.sampling | given)
        if self._sampling.is_guided and not model.can_be_guided:
            raise InvalidValue(
                f"{model.id} cannot be guided: it was trained without a text that says nothing, to lead away from. "
                f"Leave guidance_scale out, or set it to 1; got {self._sampling.guidance_scale:g}.",
                "guidance_scale",
            )
        self._check = ImageCheck(model.score, config.safety)
        self._signer = signer
        self._warning = warning
        self._lacks_notes = self._lacks_signature = False
        self.is_complete = True
        self._deadline = time.monotonic() + config.gateway.request_timeout_s

    @property
    def charged_images(self) -> int:
        """How many images a key pays for it."""
        return self._request.num_drawn

    def place(self, admission: Admission) -> AbstractContextManager[None]:
        """Holds a place while the block is drawn; raises as `Admission.admit`."""
        return admission.admit(self._request.num_drawn, self._is_batch)

    async def draw(self) -> dict[str, Any]:
        """Draws everything, and gives the reply: its fields, and in `data` each image's, with its file's bytes."""
        prepared = await self._prepare()
        drawn = await self._model.pipeline.generate(self._prompt, prepared.encoded, **self._options(prepared))
        return await self._reply(prepared, drawn)

    async def stream(self) -> AsyncGenerator[Event, None]:
        """Draws everything; gives previews while it does, and at the end the reply, as `draw` does.

        A preview is an event: it has a `type`, `partial_image`, and the bytes of a file as `image`. Where finished
        images are checked there are none, for nobody has looked at them. Before anything is drawn, events of the type
        `loading` name the `stages` of the model that are still to come, where one has to wait for them.
        """
        async with aclosing(self._model.pipeline.waking.waiting_for(self._time_left_s())) as waiting:
            async for away in waiting:
                yield {"type": "loading", "model": self._model.id, "stages": away, "created_at": int(time.time())}
        prepared = await self._prepare()
        first = 0 if prepared.repaint is None else int(prepared.repaint.any(axis=1).argmax())
        partial_images = 0 if self._check.is_on else self._request.partial_images
        rows = preview_rows(partial_images, first, self._model.grid.rows)
        shown = self._request.n if rows else 0
        counts = [0] * shown
        options = self._options(prepared) | {"preview_rows": rows, "preview_images": shown}
        events: Any = self._model.pipeline.stream(self._prompt, prepared.encoded, **options)
        async with aclosing(events):
            async for item in events:
                if isinstance(item, Preview):
                    place = counts[item.image_index]
                    counts[item.image_index] += 1
                    yield await self._partial(prepared, item, place)
                else:
                    reply = await self._reply(prepared, item)
        yield reply

    async def _prepare(self) -> Prepared:
        canvas = repaint = fixed_codes = None
        if self._upload is not None:
            async with self._model.decoding_uploads:
                canvas = await asyncio.to_thread(read_canvas, self._upload, self._model.side, self._config.limits)
        if canvas is not None and not self._prompt.strip():
            self._prompt = await self._model.pipeline.tell(canvas.image, timeout_s=self._time_left_s())
        encoded = await self._encode()
        if canvas is not None:
            codes = await self._model.pipeline.encode_image(canvas.image, timeout_s=self._time_left_s())
            assert isinstance(self._request, EditRequest | VariationRequest)
            repaint = canvas.repaint(self._model.grid[:2], self._request.keep)
            fixed_codes = editing.fix_codes(codes, repaint)
        return Prepared(encoded=encoded, canvas=canvas, repaint=repaint, fixed_codes=fixed_codes)

    async def _encode(self) -> EncodedPrompt:
        negative = self._request.negative_prompt if self._sampling.is_guided else None
        return await self._model.pipeline.encode_prompt(
            self._prompt, negative, timeout_s=self._time_left_s(), may_keep=self._may_keep
        )

    def _options(self, prepared: Prepared) -> Any:
        return {
            "n": self._request.n,
            "best_of": self._request.num_drawn,
            "seeds": self._seeds,
            "sampling": self._sampling,
            "timeout_s": self._time_left_s(),
            "fixed_codes": prepared.fixed_codes,
            "diversity": self._request.diversity,
            "is_batch": self._is_batch,
        }

    def _time_left_s(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    async def _reply(self, prepared: Prepared, drawn: Sequence[RankedImage]) -> dict[str, Any]:
        await self._look_at(drawn)
        files = await asyncio.gather(
            *(asyncio.to_thread(self._finish, prepared, image.image, image.seed) for image in drawn)
        )
        data = [
            {"image": file, "seed": image.seed, "clip_score": image.score, "revised_prompt": prepared.encoded.words}
            for image, file in zip(drawn, files, strict=True)
        ]
        is_clear = self._clears_ground and len(self._kept_grounds) < len(data)
        reply = {"created": int(time.time()), "data": data, "usage": self._usage(prepared), **self._effective(is_clear)}
        reply |= {"model": self._model.id, "native_size": self._model.size}
        if self._upload is not None and len(self._upload.images) > 1:
            reply["ignored_images"] = len(self._upload.images) - 1
        if warnings := list(self._warnings(prepared.encoded, drawn)):
            reply["warning"] = " ".join(warnings)
        unranked = self._model.ranks_images and any(image.score is None for image in drawn)
        self.is_complete = not (unranked or self._lacks_notes or self._lacks_signature or self._warning)
        return reply

    def _warnings(self, text: EncodedPrompt, drawn: Sequence[RankedImage]) -> Iterator[str]:
        if self._warning:
            yield self._warning
        for name, read, unread in (
            ("prompt", text.num_tokens, text.num_unread),
            ("negative_prompt", text.num_negative_tokens, text.num_negative_unread),
        ):
            if unread:
                yield f"{name} is longer than the model reads: its first {read} tokens were read, {unread} were not."
        if unknown := self._model.vocabulary.warning(self._prompt):
            yield unknown
        if not self._prompt.strip():
            yield "No prompt was given, and nothing here tells what the picture shows: with one, drawings fit better."
        elif low := low_score_warning((image.score for image in drawn), self._model.bundle.low_score):
            yield low
        for name in self._upload.empty if self._upload else ():
            yield f"The file given as {name} is empty, and counts as not given."
        if self._model.ranks_images and any(image.score is None for image in drawn):
            yield "The scorer is down: images are not ranked, and have no clip_score."
        if self._request.negative_prompt and not self._sampling.is_guided:
            if self._model.can_be_guided:
                yield "negative_prompt does nothing at guidance_scale 1, where nothing is led away from; try 1.5."
            else:
                yield f"negative_prompt does nothing: {self._model.id} cannot be guided, so nothing is led away from."
        if self._kept_grounds:
            seeds = ", ".join(map(str, sorted(self._kept_grounds)))
            yield f"The ground is not plain, and stays, in the image of seed {seeds}: ask for one thing, on one colour."
        if self._lacks_notes:
            yield "The files could not be made to say how they were drawn."
        if self._lacks_signature:
            yield "The files could not be signed, and have no C2PA manifest."

    async def _look_at(self, drawn: Sequence[RankedImage]) -> None:
        if not self._check.is_on:
            return
        try:
            async with asyncio.timeout(self._time_left_s()):
                await self._check.check([image.image for image in drawn], [image.seed for image in drawn])
        except TimeoutError as error:
            raise DeadlineExceeded("The images were drawn, but there was no time left to check them.") from error

    async def _partial(self, prepared: Prepared, preview: Preview, place: int) -> Event:
        seed = self._seeds[preview.image_index]
        drawn_share = preview.num_codes / self._model.grid.num_codes
        file = await asyncio.to_thread(self._finish_preview, prepared, preview.image, drawn_share, seed)
        return self._partial_event(file, preview.image_index, place, drawn_share)

    def _partial_event(self, file: bytes, image_index: int, place: int, progress: float) -> Event:
        return {
            "type": "partial_image",
            "image": file,
            "partial_image_index": place,
            "image_index": image_index,
            "seed": self._seeds[image_index],
            "progress": progress,
            "created_at": int(time.time()),
            **self._effective(),
        }

    def _finish_preview(self, prepared: Prepared, image: np.ndarray, drawn_share: float, seed: int) -> bytes:
        veiled = images.veil(image, int(image.shape[0] * drawn_share))
        if prepared.repaint is not None:  # what stays is there from the beginning
            veiled = editing.keep_pixels(veiled, image, prepared.repaint)
        return self._write(self._with_kept_pixels(prepared, veiled), seed)

    def _finish(self, prepared: Prepared, image: np.ndarray, seed: int) -> bytes:
        image = self._with_kept_pixels(prepared, image)
        if self._clears_ground:
            cleared = clear_ground(image)
            if cleared is None:
                self._kept_grounds.append(seed)
            else:
                image = cleared
        return self._signed(self._write(image, seed))

    def _with_kept_pixels(self, prepared: Prepared, image: np.ndarray) -> np.ndarray:
        if not isinstance(self._request, EditRequest) or self._request.input_fidelity == "low":
            return image
        assert prepared.canvas is not None and prepared.repaint is not None
        return editing.keep_pixels(image, prepared.canvas.image, prepared.repaint)

    def _write(self, image: np.ndarray, seed: int) -> bytes:
        sized = images.fit(image, self._width, self._height)
        encode = partial(images.encode, sized, self._request.file_format, self._request.output_compression)
        try:
            return encode(self._notes(seed))
        except Exception:  # where it is the picture that cannot be written, the next line says so
            file = encode()
            logger.exception("a file cannot say how it was drawn")
            self._lacks_notes = True
            return file

    def _signed(self, file: bytes) -> bytes:
        """The last of all writes: a signature is over everything else in the file."""
        if self._signer is None:
            return file
        try:
            signed = self._signer.sign(
                file, self._request.file_format, self._model.id, is_edit=self._upload is not None
            )
        except Exception as error:
            degraded.failed(SIGNATURES, "files cannot be signed, and are delivered without", repr(error))
            self._lacks_signature = True
            return file
        degraded.works(SIGNATURES)
        return signed

    def _notes(self, seed: int) -> dict[str, str]:
        """What the file says of itself: what draws this very image again, so neither n nor best_of."""
        notes = {"model": self._model.id, "seed": str(seed), "parameters": json.dumps(asdict(self._sampling))}
        if self._config.files.prompt_in_metadata:
            notes["prompt"] = self._prompt[:NOTED_CHARS]
            if self._request.negative_prompt:
                notes["negative_prompt"] = self._request.negative_prompt[:NOTED_CHARS]
        return notes

    def _effective(self, is_clear: bool = False) -> dict[str, str]:
        """What OpenAI's replies and events say of their images: what was done; of the quality, what was asked for."""
        return {
            "output_format": self._request.file_format,
            "size": f"{self._width}x{self._height}",
            "background": "transparent" if is_clear else "opaque",
            "quality": self._request.quality
            if self._request.quality not in ("", "auto")
            else "high",  # there is but one
        }

    def _usage(self, prepared: Prepared) -> dict[str, Any]:
        """Tokens that were read, and codes that were drawn, for images that best_of dropped too."""
        text = prepared.encoded.num_tokens + prepared.encoded.num_negative_tokens
        read = 0 if prepared.fixed_codes is None else prepared.fixed_codes.size
        an_image = self._model.grid.num_codes if prepared.repaint is None else int(prepared.repaint.sum())
        unread = prepared.encoded.num_unread + prepared.encoded.num_negative_unread
        return usage(text, read, an_image * self._request.num_drawn, unread)


def preview_rows(partial_images: int, first_row: int, rows: int) -> tuple[int, ...]:
    """After which rows of codes to show a picture whose rows before `first_row` are there from the beginning.

    Evenly spread over what is drawn, and never the last: 2, 4, 6 of 8 for three.
    """
    places = {first_row + round((rows - first_row) * i / (partial_images + 1)) for i in range(1, partial_images + 1)}
    return tuple(sorted(place for place in places if first_row < place < rows))
