"""Faults made by hand: (file, its text → the same with a fault, the tests that must notice).

The text must be there exactly once. One that survives has to say why, and that it may.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """A small change that makes the source wrong."""

    file: str
    text: str
    faulty: str
    tests: tuple[str, ...]
    explanation: str = ""  # why no test can notice it


UNIT = "tests/unit"
SAMPLER, QUEUE = "model_core/sampler", "model_core/sampler/fair_queue.py"
SAMPLING, LIKELIEST = f"{SAMPLER}/sampling.py", f"{SAMPLER}/top_k_top_p.py"
PIPELINE, CALLS = "deployments/flow/pipeline.py", "deployments/flow/calls.py"
CIRCUIT, PREVIEWS = "deployments/flow/circuit.py", "deployments/flow/previews.py"
ERRORS, KEYS = "deployments/api/errors.py", "deployments/api/keys.py"
LEDGER, QUOTAS, CALLER, RESULTS = (
    f"deployments/gateway/{name}.py" for name in ("ledger", "quotas", "caller", "results")
)
FLIGHT, WAITING = "deployments/flow/single_flight.py", f"{SAMPLER}/waiting.py"
of_queue = (f"{UNIT}/model_core/sampler/test_fair_queue.py",)
of_sampling = (f"{UNIT}/model_core/sampler/test_sampling.py",)
of_likeliest = (f"{UNIT}/model_core/sampler/test_top_k_top_p.py", *of_sampling)
of_flow = (f"{UNIT}/deployments/flow",)
of_api = (f"{UNIT}/deployments/api/test_routes.py", f"{UNIT}/deployments/gateway/test_gateway.py")
of_keys = (f"{UNIT}/deployments/api/test_keys.py", f"{UNIT}/deployments/api/test_by_products.py")
of_budgets = tuple(f"{UNIT}/deployments/gateway/test_{name}.py" for name in ("ledger", "quotas", "usage", "caller"))
of_flight = (f"{UNIT}/deployments/flow/test_single_flight.py",)
of_results = (f"{UNIT}/deployments/gateway/test_results.py",)
of_waiting = (f"{UNIT}/model_core/sampler/test_waiting.py",)

FAULTS = [
    # Who is next
    Fault(QUEUE, "deque()).append(sequence)", "deque()).appendleft(sequence)", of_queue),
    Fault(QUEUE, "sequences.popleft()", "sequences.pop()", of_queue),
    Fault(QUEUE, "if sequences:\n            self._waiting[request_id] = sequences",
          "if sequences:\n            self._waiting = {request_id: sequences} | self._waiting", of_queue),
    Fault(QUEUE, "self._running[request_id] += 1", "self._running[request_id] += 0", of_queue),
    Fault(QUEUE, "self._running[request_id] -= 1", "self._running[request_id] -= 0", of_queue),
    Fault(QUEUE, "sequences := self._waiting.pop(request_id, None)", "sequences := self._waiting.get(request_id)",
          of_queue),
    Fault(QUEUE, "return min(self._waiting", "return max(self._waiting", of_queue),
    Fault(QUEUE, "if not self._waiting[request_id]:", "if False:", of_queue),
    # From logits to a code
    Fault(SAMPLING, "moved = logits_uncond +", "moved = logits +", of_sampling),
    Fault(SAMPLING, "(scale == 1) | (logits == -jnp.inf)", "scale == 1", of_sampling),
    Fault(SAMPLING, "(scale == 1) | (logits == -jnp.inf)", "logits == -jnp.inf", of_sampling),
    Fault(SAMPLING, "logits / jnp.maximum(temperature", "logits * jnp.maximum(temperature", of_sampling),
    Fault(SAMPLING, "_COLDEST = 1e-20", "_COLDEST = 0.0", of_sampling),
    Fault(SAMPLING, "jnp.any(top_k > 0) | jnp.any(top_p < 1)", "jnp.any(top_k > 0)", of_sampling),
    Fault(SAMPLING, 'impl="threefry2x32"), position)', 'impl="threefry2x32"), 0)', of_sampling),
    Fault(SAMPLING, 'settings["top_p"]) + noise', 'settings["top_p"])', of_sampling),
    Fault(SAMPLING, "-jnp.inf, scores).max(-1)", "-jnp.inf, scores).min(-1)", of_sampling),
    Fault(SAMPLING, "jnp.isfinite(largest)", "~jnp.isnan(largest)", of_sampling),
    Fault(SAMPLING, "jnp.maximum(logits.max(-1), logits_uncond.max(-1))", "logits.max(-1)", of_sampling),
    Fault(SAMPLING, "jnp.nan_to_num(scores.max(-1) - second, posinf=jnp.inf)", "scores.max(-1) - second", of_sampling),
    Fault(SAMPLING, "min(getattr(one, each.name), largest)", "getattr(one, each.name)", of_sampling),
    # Which ids stay
    Fault(LIKELIEST, "(before < top_p[:, None])", "(before <= top_p[:, None])", of_likeliest),
    Fault(LIKELIEST, "(reached < target))", "(reached <= target))", of_likeliest),
    Fault(LIKELIEST, "jnp.arange(values.shape[-1]) < top_k", "jnp.arange(values.shape[-1]) <= top_k", of_likeliest),
    Fault(LIKELIEST, "<= edge_id", "< edge_id", of_likeliest),
    Fault(
        LIKELIEST,
        "chosen.sum(-1, keepdims=True) >= limit",
        "chosen.sum(-1, keepdims=True) > limit",
        of_likeliest,
        explanation="the edge is one key lower, and no room is left for it: the same ids, found by the dearer way",
    ),
    Fault(LIKELIEST, "(_rank(keys == last) < room)", "(_rank(keys == last) <= room)", of_likeliest),
    Fault(LIKELIEST, "bits & sign, ~bits", "bits & sign, bits", of_likeliest),
    Fault(LIKELIEST, "jnp.where(values == 0, 0.0, values)", "values", of_likeliest),
    Fault(LIKELIEST, "logits = jnp.where(logits == 0, 0.0, logits)", "logits = logits", of_likeliest),
    Fault(LIKELIEST, "jnp.maximum(top_p, jnp.finfo(jnp.float32).tiny)", "top_p", of_likeliest),
    Fault(LIKELIEST, "jax.nn.softmax(kept)", "jax.nn.softmax(logits)", of_likeliest),
    # The way of a request
    Fault(PIPELINE, 'best, drawn, options["n"],', "best, drawn, len(drawn),", of_flow),
    Fault(PIPELINE, "asyncio.Semaphore(self._images_in_flight)", "asyncio.Semaphore(1000)", of_flow),
    Fault(PIPELINE, "shown = known\n", "_ = known\n", of_flow),
    Fault(PIPELINE, "codes.cancel()", "pass", of_flow),
    Fault(PIPELINE, "image.cancel()", "pass", of_flow),
    Fault(PIPELINE, "score.cancel()", "pass", of_flow),
    Fault(PIPELINE, "circuit.succeeded()", "pass", of_flow),
    Fault(PIPELINE, "circuit.failed()", "pass", of_flow),
    Fault(PIPELINE, 'finite("clip_scorer", await score)', "await score", of_flow),
    Fault(PIPELINE, '"timeout_s": time_left_s()', '"timeout_s": None', of_flow),
    Fault(PIPELINE, "drawing.cancel()", "pass", of_flow),
    Fault(CALLS, "RETRY_DELAYS_S = (0.05, 0.1)", "RETRY_DELAYS_S = (0.05,)", of_flow),
    Fault(CALLS, "response.cancel()", "pass", of_flow),
    Fault(CALLS, "EngineFailed | NotFinite)", "EngineFailed)", of_flow),
    Fault(CALLS, "isinstance(cause, MEANT_FOR_CALLERS)", "True", of_flow),
    Fault(CALLS, "if isinstance(cause, DalleServeError) else", "if True else", of_flow),
    Fault(CIRCUIT, "self._clock() < self._closed_from", "self._clock() > self._closed_from", of_flow),
    Fault(CIRCUIT, 'worked."""\n        self._failures = 0', 'worked."""\n        self._failures += 0', of_flow),
    Fault(PREVIEWS, "codes[num_codes - columns : num_codes]", "codes[:columns]", of_flow),
    Fault(PREVIEWS, " and image_index not in self._unread", "", of_flow),
    # What a client gets for an error
    Fault(ERRORS, "(InvalidValue, 400,", "(InvalidValue, 422,", of_api),
    Fault(ERRORS, "(StageFailed, 500,", "(StageFailed, 400,", of_api),
    Fault(ERRORS, "(DeadlineExceeded, 408,", "(DeadlineExceeded, 504,", of_api),
    Fault(ERRORS, "(ModelNotFound, 404,", "(ModelNotFound, 400,", of_api),
    Fault(ERRORS, "(ShuttingDown, 503,", "(ShuttingDown, 500,", of_api),
    Fault(ERRORS, '"invalid_request_error", "content_policy_violation"', '"invalid_request_error", "refused"', of_api),
    Fault(ERRORS, "HEADERS.get(self.status, {}) | self.headers", "self.headers | HEADERS.get(self.status, {})", of_api),
    Fault(ERRORS, '"model" if isinstance(error, ModelNotFound) else', "None if False else", of_api),
    Fault(ERRORS, 'answer_with(500, "The service failed unexpectedly. Its log tells more.")',
          "answer_with(500, str(error))", of_api),
    Fault(ERRORS, 'if scope["type"] != "http" or begun:', "if True:", of_api),
    # Who may ask, and for how many images
    Fault(KEYS, "if hmac.compare_digest(key.digest, digest):", "if True:", of_keys),
    Fault(KEYS, "len(key) < MIN_KEY_CHARS", "False", of_keys),
    Fault(KEYS, "if not keys and not may_be_empty:", "if False:", of_keys),
    Fault(KEYS, "self._config.allow_remote and not _is_this_machine(request)", "self._config.allow_remote and False",
          of_keys),
    Fault(LEDGER, "max(0.0, self.left - num_images)", "self.left", of_budgets),
    Fault(LEDGER, "min(self.images_per_minute, self.left + num_images)", "self.left", of_budgets),
    Fault(LEDGER, "min(self.images_per_minute, self._left + came)", "self._left + came", of_budgets),
    Fault(LEDGER, "self._filled_at = now\n", "pass\n", of_budgets),
    Fault(LEDGER, "bucket = self._buckets[key] = Bucket(", "bucket = Bucket(", of_budgets),
    Fault(LEDGER, "if needed > bucket.left:", "if False:", of_budgets),
    Fault(LEDGER, "(bucket.left - needed) / 2", "bucket.left - needed", of_budgets),
    Fault(LEDGER, ".update(counts)\n\n", ".setdefault('', counts)\n\n", of_budgets),
    Fault(QUOTAS, "if num_images > self._own.left:", "if False:", of_budgets),
    Fault(QUOTAS, "self._own.take(num_images)", "pass", of_budgets),
    Fault(QUOTAS, "self._credit += num_images", "pass", of_budgets),
    Fault(QUOTAS, "await self._commons.give_back(self._key, unused)", "pass", of_budgets),
    Fault(QUOTAS, "self._credit < self._spare // 2 and", "False and", of_budgets),
    Fault(CALLER, "except Exception:", "except Overloaded:", of_keys),
    Fault(CALLER, "self._charged += num_images", "pass", of_budgets),
    Fault(CALLER, 'said & {"no-cache", "max-age=0"}', "set()", of_budgets),
    Fault(CALLER, "return is_batch or priority ==", "return priority ==", of_budgets),
    # What is drawn once
    Fault(FLIGHT, "self._waiting -= 1", "pass", of_flight),
    Fault(FLIGHT, "if not self._waiting and", "if", of_flight),
    Fault(FLIGHT, "self._on_end(self)  # who comes", "pass  # who comes", of_flight),
    Fault(FLIGHT, "_internal_request_id=str(uuid.uuid4()), ", "", of_flight),
    Fault(RESULTS, '"scope": "" if config.cache.results_across_keys else scope', '"scope": ""', of_results),
    Fault(RESULTS, "else _digest(upload.mask)", 'else ""', of_results),
    # Whose work waits
    Fault(WAITING, "self._gave_way.popleft() if self._gave_way else", "", of_waiting),
    Fault(WAITING, "self._gave_way.remove(sequence)\n            self.end(sequence)", "self._gave_way.remove(sequence)",
          of_waiting),
    Fault(KEYS, "return password or user", "return password", of_keys),
    Fault(KEYS, " or Keys(access).keys:", ":", of_keys),
    Fault(KEYS, "found.images_per_minute or self._config", "self._config", of_keys),
]  # fmt: skip
