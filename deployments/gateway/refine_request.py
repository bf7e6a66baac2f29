"""One request to refine on its way: a picture is drawn, uploaded or made of noise, then led towards its prompts."""

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import numpy as np

from deployments.flow.refinement import Shown
from deployments.gateway.admission import Admission
from deployments.gateway.canvas import read_start
from deployments.gateway.image_request import ImageRequest, Prepared
from deployments.gateway.replies import Event
from deployments.requests.schemas import EditRequest, RefinableRequest
from model_core.errors import InvalidValue
from model_core.pictures import images
from model_core.refine.values import INIT_WEIGHT, Refinement


class RefineRequest(ImageRequest):
    """A request to a model's refiner. Arguments as `ImageRequest`; the model has a refiner.

    Raises:
      InvalidValue: a field does not go with it, or asks for more than may be.
    """

    def __init__(self, request: RefinableRequest, *args: Any, **options: Any):
        super().__init__(request, *args, **options)
        assert self._model.refiner is not None
        self._refiner, self._limits = self._model.refiner, self._model.refiner.config
        asked = self._height, self._width
        self._size = asked if asked in self._refiner.sizes else self._refiner.sizes[0]
        is_of_noise = getattr(request, "start", None) == "noise"
        self._draws = self._upload is None and not is_of_noise
        self._require_fitting(request)
        given: dict[str, Any] = {} if is_of_noise else {"init_weight": INIT_WEIGHT}
        asked_for = {name: getattr(request, name) for name in ("steps", "cutouts", "init_weight")}
        given |= {name: value for name, value in asked_for.items() if value is not None}
        texts = ((request.prompt, 1.0), *((prompt.text, prompt.weight) for prompt in request.prompts or ()))
        self._refinements = {seed: Refinement(texts=texts, seed=seed, size=self._size, **given) for seed in self._seeds}
        refinement = self._refinements[self._seeds[0]]
        for name, most in (("steps", self._limits.max_steps), ("cutouts", self._limits.max_cutouts)):
            if getattr(refinement, name) > most:
                raise InvalidValue(f"{name} must be at most {most}, got {getattr(refinement, name)}.", name)
        self._cost = request.n * refinement.cost(self._refiner.sizes[0])
        if self._cost > self._limits.max_pending_steps:
            raise InvalidValue(
                f"This takes as long as {self._cost} steps, and at most {self._limits.max_pending_steps} may be asked "
                "for: ask for fewer images (n), steps or cutouts, or a smaller size.",
                "steps",
            )
        self._admission: Admission | None = None

    def _require_fitting(self, request: RefinableRequest) -> None:
        if not self._draws and request.num_drawn > request.n:
            raise InvalidValue("best_of chooses among drawings, and nothing is drawn here: leave it out.", "best_of")
        if isinstance(request, EditRequest) and request.input_fidelity == "high":
            raise InvalidValue("A picture is refined as a whole: leave input_fidelity out.", "input_fidelity")

    @property
    def charged_images(self) -> int:
        """How many images a key pays for it: those drawn, and what the steps are worth."""
        drawn = self._request.num_drawn if self._draws else 0
        return drawn + math.ceil(self._cost / self._limits.steps_an_image)

    @contextmanager
    def place(self, admission: Admission) -> Iterator[None]:
        """Holds a place at the refiner, and while something is drawn one for that; raises as `Admission.admit`."""
        self._admission = admission
        with admission.admit_steps(self._model.id, self._cost):
            yield

    async def draw(self) -> dict[str, Any]:
        """Refines everything, and gives the reply as `ImageRequest.draw` does."""
        reply: dict[str, Any] = {}
        async with aclosing(self.stream()) as items:
            async for item in items:
                reply = item  # the last one
        return reply

    async def stream(self) -> AsyncGenerator[Event, None]:
        """Refines everything; gives previews while it does, and at the end the reply, as `ImageRequest.stream` does."""
        prepared = Prepared(encoded=await self._encode())
        starts = await self._starts(prepared)
        steps = self._refinements[self._seeds[0]].steps
        partial_images = 0 if self._check.is_on else self._request.partial_images
        shown = [max(1, round(steps * i / (partial_images + 1))) for i in range(1, partial_images + 1)]
        counts = dict.fromkeys(starts, 0)
        refinements = [self._refinements[seed] for seed in starts]
        refining = self._refiner.stream(list(starts.values()), refinements, shown=shown, timeout_s=self._time_left_s())
        async with aclosing(refining) as items:
            async for item in items:
                if isinstance(item, Shown):
                    seed = refinements[item.image_index].seed
                    file = await asyncio.to_thread(self._write, item.image, seed)
                    yield self._partial_event(file, self._seeds.index(seed), counts[seed], item.step / steps)
                    counts[seed] += 1
                else:
                    reply = await self._reply(prepared, item)
        yield reply

    async def _starts(self, prepared: Prepared) -> dict[int, np.ndarray | None]:
        """The pictures to begin with, by seed; None is noise."""
        height, width = self._size
        if self._draws:
            assert self._admission is not None
            with self._admission.admit(self._request.num_drawn, self._is_batch):
                drawn = await self._model.pipeline.generate(self._prompt, prepared.encoded, **self._options(prepared))
            return {image.seed: images.fit(image.image, width, height) for image in drawn}
        start = None
        if self._upload is not None:
            async with self._model.decoding_uploads:
                start = await asyncio.to_thread(read_start, self._upload, width, height, self._config.limits)
        return dict.fromkeys(self._seeds, start)

    def _notes(self, seed: int) -> dict[str, str]:
        """What the file says of itself."""
        refinement = self._refinements[seed]
        return super()._notes(seed) | {
            "refined": f"{refinement.steps} steps, {refinement.cutouts} cutouts, init_weight {refinement.init_weight:g}"
        }
