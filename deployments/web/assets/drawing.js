// One drawing from its request to its pictures: asks the service, and shows in the grid what comes.
//
// A request is `{kind, label, fields, source}`: kind is `draw`, `edit`, `vary` or `refine`; but for the first, it has a
// source, `{src, side, mask | keep, from}`, of which `refine` has only `src`. Drawn, it also has `pictures`, `seconds` and `warnings`.

import { Mask } from "./mask.js";
import { cutOut, toFile } from "./picture.js";
import { draw, readiness } from "./service.js";
import { about, count, say, showClock, showProgress } from "./status.js";

const QUEUE_POLL_MS = 1500;
const SEEDS = 2 ** 32;

export class Drawing {
  #stop = new AbortController();
  #began = performance.now();
  #share = 0;

  constructor(request, grid, codes) {
    const { n = 1, seed, best_of = 0 } = request.fields;
    Object.assign(this, { request, grid, codes });
    this.seeds = Array.from({ length: n }, (_, i) => (seed + i) % SEEDS);
    this.waiting = Math.max(best_of, n); // pictures that it has to wait for
  }

  get isCancelled() {
    return this.#stop.signal.aborted;
  }

  cancel() {
    this.#stop.abort();
  }

  /** Draws, and gives the request with what came of it; raises what the service does. */
  async run() {
    say(`Drawing ${count(this.seeds.length)} …`);
    showProgress(null);
    const clock = setInterval(() => showClock(this.#seconds, this.#share), 250);
    const queue = this.#watchQueue();
    try {
      return await this.#draw(queue, await this.#files());
    } finally {
      queue.stop();
      clearInterval(clock);
    }
  }

  async #draw(queue, files) {
    const { kind, label, source } = this.request;
    const fields = kind === "edit" ? { ...this.request.fields, input_fidelity: "high" } : { ...this.request.fields };
    if (kind === "vary") fields.keep = source.keep;
    const drawn = new Map(this.seeds.map((seed) => [seed, 0]));
    let pictures = [];
    const warnings = new Set();
    this.grid.start(this.seeds, { base: files?.base });
    const onWait = (seconds, { isAway, message }) => {
      queue.isPaused = seconds > 0;
      const trouble = isAway ? message : "The service is busy.";
      say(seconds > 0 ? `${trouble} Trying again in ${seconds} s.` : `Drawing ${count(this.seeds.length)} …`, message);
    };
    const request = { kind, fields, files: files?.sent };
    for await (const event of draw(request, { signal: this.#stop.signal, onWait })) {
      const { preview, picture, warning, again, loading } = event;
      if (loading) {
        const parts = loading.map((part) => part.replaceAll("_", " ")).join(", ");
        say(`The model is being loaded. Still to come: ${parts}.`);
        queue.isPaused = true; // nobody is before it: it waits for the model
        continue;
      }
      if (again) pictures = [];
      else queue.stop();
      if (picture) pictures.push(picture);
      if (warning) warnings.add(warning);
      if (!preview) continue;
      this.grid.preview(preview);
      if (drawn.has(preview.seed)) drawn.set(preview.seed, preview.progress);
      this.#showProgress([...drawn.values()], label);
    }
    return { ...this.request, pictures, seconds: this.#seconds, warnings: [...warnings] };
  }

  /** The picture that is drawn on, and the same with what is drawn anew cut out of it. */
  async #files() {
    const { kind, source } = this.request;
    if (!source) return undefined;
    if (kind === "refine") return { base: source.src, sent: { image: toFile(source.src) } };
    const mask = source.mask ? Mask.parse(source.mask, this.codes) : Mask.below(source.keep, this.codes);
    const base = await cutOut(source, mask);
    const image = toFile(source.src);
    return { base, sent: source.mask ? { image, mask: toFile(base) } : { image } };
  }

  get #seconds() {
    return (performance.now() - this.#began) / 1000;
  }

  #showProgress(shares, label) {
    this.#share = shares.reduce((sum, each) => sum + each, 0) / shares.length;
    showProgress(this.#share);
    const extra = this.waiting > shares.length ? `, then the best of ${this.waiting}` : "";
    say(`Drawing ${count(shares.length)} of ${label}${extra} …`);
  }

  /** Says how many pictures are ahead, and how long they take, until the first rows appear; not while it is paused. */
  #watchQueue() {
    const queue = { isPaused: false };
    const timer = setInterval(async () => {
      const state = await readiness();
      const ahead = (state?.pending_images ?? 0) - this.waiting;
      if (ahead <= 0 || queue.isPaused || this.isCancelled) return;
      const wait = state.seconds_an_image ? `, ${about(ahead * state.seconds_an_image)}` : "";
      say(`In the queue: ${count(ahead)} of others ${ahead === 1 ? "is" : "are"} before yours${wait}.`);
    }, QUEUE_POLL_MS);
    queue.stop = () => {
      queue.isPaused = true;
      clearInterval(timer);
    };
    return queue;
  }
}
