// The service, over HTTP: what can be asked of it, and its errors. Knows nothing of the page.

import { readEvents } from "./sse.js";

const PREVIEWS = 3; // of each picture; the API allows no more
const STREAM = { stream: true, stream_multiple: true, partial_images: PREVIEWS };
const BUSY = [429, 503];
const PATIENCE_S = 600; // how long to come back to a busy service
const READY_TIMEOUT_MS = 5000;

export class ServiceError extends Error {
  constructor(message, { status = 0, code = null, param = null, retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param, retryAfterS });
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

/** How far the stages are, and how many pictures wait; null where nothing answers. */
export async function readiness() {
  try {
    return await (await fetch(address("ready"), { signal: AbortSignal.timeout(READY_TIMEOUT_MS) })).json();
  } catch {
    return null;
  }
}

/**
 * Draws, and yields `{preview: {seed, src, progress}}` as rows appear, then `{picture: {seed, src, score}}`, best first.
 * Where the service is busy, comes back when it says so; `onWait(seconds, message)` counts down to 0.
 */
export async function* draw(fields, { signal, onWait }) {
  const body = JSON.stringify({ ...fields, ...STREAM });
  const options = { method: "POST", body, headers: { "content-type": "application/json" }, signal };
  yield* results(await patiently(() => send("v1/images/generations", options), signal, onWait));
}

/** Draws variations of a picture, and yields as `draw` does. */
export async function* vary(file, fields, { signal, onWait }) {
  const body = new FormData();
  body.append("image", file, "picture.png");
  for (const [name, value] of Object.entries({ ...fields, ...STREAM })) body.append(name, value);
  const options = { method: "POST", body, signal };
  yield* results(await patiently(() => send("v1/images/variations", options), signal, onWait));
}

async function* results(reply) {
  if (!reply.headers.get("content-type").startsWith("text/event-stream")) {
    const { data, output_format } = await reply.json();
    for (const entry of data) yield { picture: picture(entry, output_format) };
    return;
  }
  let complete = false;
  for await (const event of readEvents(reply.body)) {
    if (event.error) throw new ServiceError(event.error.message, event.error);
    if (event.type.endsWith(".partial_image")) {
      const progress = event.progress ?? (event.partial_image_index + 1) / (PREVIEWS + 1);
      yield { preview: { seed: event.seed, progress, src: source(event.b64_json, event.output_format) } };
    } else if (event.type.endsWith(".completed")) {
      complete = true;
      yield { picture: picture(event, event.output_format) };
    }
  }
  if (!complete) throw new ServiceError("The service stopped in the middle of drawing. Try again.");
}

function picture(entry, format) {
  return { seed: entry.seed, score: entry.clip_score ?? null, src: source(entry.b64_json, format) };
}

function source(base64, format) {
  return `data:image/${format ?? "png"};base64,${base64}`;
}

async function patiently(attempt, signal, onWait) {
  const until = Date.now() + PATIENCE_S * 1000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const waitS = error.retryAfterS ?? 5;
      if (!BUSY.includes(error.status) || Date.now() + waitS * 1000 > until) throw error;
      for (let left = waitS; left > 0; left--) {
        onWait(left, error.message);
        await pause(1000, signal);
      }
      onWait(0, "");
    }
  }
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
    throw new ServiceError("The service does not answer. Is it still running, and is this machine connected to it?");
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
