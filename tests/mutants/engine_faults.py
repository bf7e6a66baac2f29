"""Faults of the engine, of its rows and of the step: see `faults.py`."""

from tests.mutants.faults import SAMPLER, UNIT, Fault

ENGINE, ROWS, LOOP = (f"{SAMPLER}/{name}.py" for name in ("engine", "rows", "decode_loop"))
of_engine = (f"{UNIT}/model_core/sampler/test_engine.py", "-k", "not real_rows")
of_loop = (f"{UNIT}/model_core/sampler/test_decode_loop.py",)
of_rows = (f"{UNIT}/model_core/sampler/test_rows.py", "-k", "not_finite")
of_giving_way = (f"{UNIT}/model_core/sampler/test_rows.py", "-k", "gave_way or gives_way")
of_drawing = tuple(
    f"{UNIT}/model_core/sampler/test_generate.py::test_{name}"
    for name in ("greedy_codes_are_the_likeliest_of_the_guided_logits", "a_seed_is_the_noise_of_its_positions")
)

ENGINE_FAULTS = [
    Fault(ENGINE, "remove(sequence)\n            sequence.is_over = True",
          "remove(sequence)\n                sequence.is_over = True", of_engine),
    Fault(ENGINE, "finally:\n            self.cancel(sequence)", "finally:\n            pass", of_engine),
    Fault(ENGINE, "self._rows.leave(sequence)", "pass", of_engine),
    Fault(ENGINE, "self._queue.end(sequence)", "pass", of_engine),
    Fault(ENGINE, "if now > one.expires", "if now >= one.expires", of_engine),
    Fault(ENGINE, "        return self._rows.has_room(sequence)\n", "        return True\n", of_engine),
    Fault(ENGINE, "while self._rows.num_turns:  # so", "while False:  # so", of_engine),
    Fault(ENGINE, "leaver = min(", "leaver = max(", of_engine),
    Fault(ENGINE, "if sequence is None or sequence.is_batch or", "if sequence is None or", of_engine),
    Fault(ENGINE, ">= len(sequence.conditions)", ">= 0", of_engine),
    Fault(ENGINE, "min(max(done, 1), whole - done)", "whole", of_engine),
    Fault(ENGINE, "self._codes_drawn += drawn", "pass", of_engine),
    Fault(ENGINE, "for stop in before if stop > sequence", "for stop in before if stop >= sequence", of_engine),
    Fault(ENGINE, "- since > self._max_stall_s", "- since > 10 * self._max_stall_s", of_engine),
    Fault(ENGINE, "if self._failure or self._is_closed:\n                raise", "if False:\n                raise",
          of_engine),
    Fault(ENGINE, "is given up\")\n            self.cancel(sequence)", "is given up\")", of_engine),
    Fault(ENGINE, "            self._codes_since_pause = 0", "            pass", of_engine),
    Fault(ENGINE, "(is_drawing and self._rows.runs_ahead)", "0", of_engine),
    Fault(ENGINE, "str(error) if isinstance(error, NotFinite) else", "", of_engine),
    Fault(ROWS, "if (codes[row, before:position] == NOT_FINITE).any():", "if False:", of_rows),
    Fault(ROWS, '"uncond": np.array([of_image[-1]', '"uncond": np.array([of_image[0]', of_drawing),
    Fault(ROWS, '"seed": np.array([sequence.seed for', '"seed": np.array([0 for', of_drawing),
    Fault(ROWS, "for one in sequence.parked:", "for one in []:", of_giving_way),
    Fault(ROWS, "sequence.parked = []", "pass", of_giving_way),
    Fault(LOOP, "drawn = jnp.where(jnp.isnan(margin), NOT_FINITE, drawn)", "drawn = drawn", of_rows),
    Fault(LOOP, "jnp.where(is_free, drawn, given)", "drawn", of_loop),
    Fault(LOOP, "is_free & is_final & (margin < NEAR_TIE)", "is_free & is_final", of_loop),
    Fault(LOOP, "jnp.minimum(drawing.position, length - window)", "drawing.position", of_loop),
    Fault(LOOP, "read[:, :-1] >> 1", "read[:, :-1] // 4", of_loop),
]  # fmt: skip
