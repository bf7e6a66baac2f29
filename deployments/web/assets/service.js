// The service, over HTTP: what can be asked of it, and its errors. Knows nothing of the page.

import { readEvents } from "./sse.js";

const PREVIEWS = 3; // of each picture; the API allows no more
const STREAM = { stream: true, stream_multiple: true, partial_images: PREVIEWS };
const ROUTES = { draw: "v1/images/generations", edit: "v1/images/edits", vary: "v1/images/variations", refine: "v1/images/edits" };
const BUSY = [429, 503];
const PATIENCE_S = 600; // how long to come back to a service that is busy, or away
const AWAY_S = 3; // between two looks whether it is back
const BREAKS = 3; // so often an answer may break off though the service is there
const READY_TIMEOUT_MS = 5000;

export class ServiceError extends Error {
  constructor(message, { status = 0, code = null, param = null, retryAfterS = null, isAway = false } = {}) {
    super(message);
    Object.assign(this, { status, code, param, retryAfterS, isAway });
  }
}

let key = "";

/** The key to send from now on; "" sends none. */
export function useKey(value) {
  key = value;
}

/** The models that are served, the default first. */
export async function listModels() {
  return (await (await send("v1/models", {})).json()).data;
}

/** What tells about a model, as HTML. */
export async function modelCard(id) {
  return (await send(`cards/${id}`, {})).text();
}

/** The address, of this page alone, of a sheet with a picture of each thing that a model knows, 16 in a row. */
export async function knownPictures(id) {
  return URL.createObjectURL(await (await send(`known/${id}`, {})).blob());
}

/** How far the stages are, how many pictures wait, and how long one takes; null where nothing answers. */
export async function readiness() {
  try {
    return await (await fetch(address("ready"), { signal: AbortSignal.timeout(READY_TIMEOUT_MS) })).json();
  } catch {
    return null;
  }
}

/**
 * Draws `{kind, fields, files}`, and yields `{preview: {seed, src, progress}}` as rows appear, then
 * `{picture: {seed, src, score, words}}`, best first, and `{warning}`; before them, `{loading}`, the parts of the model
 * that are not there yet, where it has to wait for some. A service that is busy, or away, is asked again:
 * `onWait(seconds, error)` counts down to 0, and what comes then is the whole drawing again, after `{again: true}`.
 *
 * @param files by field, such as `image` and `mask`, for an edit or variations.
 */
export async function* draw({ kind, fields, files }, { signal, onWait }) {
  const until = Date.now() + PATIENCE_S * 1000;
  for (let breaks = 0; ; ) {
    try {
      yield* results(await send(ROUTES[kind], { method: "POST", signal, ...payload(kind, fields, files) }));
      return;
    } catch (error) {
      const waitS = error.isAway ? AWAY_S : (error.retryAfterS ?? 5);
      const mayPass = error.isAway ? breaks < BREAKS : BUSY.includes(error.status);
      if (!mayPass || Date.now() + waitS * 1000 > until) throw error;
      do await countDown(waitS, error, signal, onWait);
      while (error.isAway && !(await readiness()) && Date.now() < until);
      if (error.isAway) breaks += 1;
      yield { again: true };
    }
  }
}

function payload(kind, fields, files) {
  if (kind === "draw") {
    return { body: JSON.stringify({ ...fields, ...STREAM }), headers: { "content-type": "application/json" } };
  }
  const body = new FormData();
  for (const [name, file] of Object.entries(files)) body.append(name, file, `${name}.png`);
  for (const [name, value] of Object.entries({ ...fields, ...STREAM })) body.append(name, value);
  return { body };
}

async function* results(reply) {
  if (!reply.headers.get("content-type").startsWith("text/event-stream")) {
    const { data, output_format, warning } = await reply.json();
    for (const entry of data) yield { picture: picture(entry, output_format) };
    if (warning) yield { warning };
    return;
  }
  let complete = false;
  try {
    for await (const event of readEvents(reply.body)) {
      if (event.error) throw new ServiceError(event.error.message, event.error);
      if (event.type.endsWith(".loading")) {
        yield { loading: event.stages };
      } else if (event.type.endsWith(".partial_image")) {
        const progress = event.progress ?? (event.partial_image_index + 1) / (PREVIEWS + 1);
        yield { preview: { seed: event.seed, progress, src: source(event.b64_json, event.output_format) } };
      } else if (event.type.endsWith(".completed")) {
        complete = true;
        yield { picture: picture(event, event.output_format) };
        if (event.warning) yield { warning: event.warning };
      }
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // what a connection that breaks off raises
    complete = false;
  }
  if (!complete) throw new ServiceError("The service stopped in the middle of drawing.", { isAway: true });
}

function picture(entry, format) {
  return {
    seed: entry.seed,
    score: entry.clip_score ?? null,
    words: entry.revised_prompt ?? "",
    src: source(entry.b64_json, format),
  };
}

function source(base64, format) {
  return `data:image/${format ?? "png"};base64,${base64}`;
}

async function countDown(seconds, error, signal, onWait) {
  for (let left = seconds; left > 0; left--) {
    signal.throwIfAborted();
    onWait(left, error);
    await pause(1000, signal);
  }
  onWait(0, error);
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}

async function send(path, options) {
  const headers = { ...options.headers, ...(key && { authorization: `Bearer ${key}` }) };
  let reply;
  try {
    reply = await fetch(address(path), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The service does not answer.", { isAway: true });
  }
  if (reply.ok) return reply;
  throw await refusal(reply);
}

async function refusal(reply) {
  const retryAfterS = parseInt(reply.headers.get("retry-after"), 10) || null;
  let error = {};
  try {
    error = (await reply.json()).error ?? {};
  } catch {
    // not from the service itself: a proxy in between answers in words of its own
  }
  const message = error.message ?? `The service answered ${reply.status} ${reply.statusText}.`;
  return new ServiceError(message, { ...error, status: reply.status, retryAfterS });
}

function address(path) {
  return new URL(path, document.baseURI);
}
