// The pictures in rows and columns: drawn downwards while previews come, moved to their places when they are ranked.

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const MOVE_MS = 600;
const FIRST_REVEAL_MS = 900;

export class Grid {
  /** @param onOpen called with the place of a finished picture that is clicked. */
  constructor(list, template, onOpen) {
    this.list = list;
    this.template = template;
    this.onOpen = onOpen;
    this.tiles = new Map(); // by the seed of what is drawn there
    list.addEventListener("click", (event) => this.#open(event));
    list.addEventListener("keydown", (event) => this.#walk(event));
  }

  /** Makes room for pictures with these seeds, all still to be drawn. */
  start(seeds, isDrawing = true) {
    this.#layOut(seeds.length);
    this.tiles = new Map(seeds.map((seed) => [seed, this.#tile(isDrawing)]));
    this.list.replaceChildren(...[...this.tiles.values()].map((tile) => tile.parentElement));
    seeds.forEach((seed, i) => this.#label(this.tiles.get(seed), `Picture ${i + 1} of ${seeds.length}, not drawn yet`));
  }

  /** Shows the rows that are drawn so far; those to come stay covered. */
  async preview({ seed, src, progress }) {
    const tile = this.tiles.get(seed);
    if (!tile) return;
    const now = performance.now();
    const sinceLast = Math.min(now - (tile.seenAt ?? now - FIRST_REVEAL_MS), 4000);
    tile.seenAt = now;
    await show(tile, src);
    if (tile.classList.contains("done")) return; // overtaken while the preview was being decoded
    uncover(tile, progress, sinceLast);
    this.#label(tile, `Being drawn, ${Math.round(progress * 100)} %`);
  }

  /** Puts the finished pictures into their places, best first. */
  async finish(pictures) {
    const unused = new Set(this.tiles.values());
    const kept = pictures.map(({ seed }) => this.tiles.get(seed));
    kept.forEach((tile) => unused.delete(tile));
    const spare = [...unused];
    const order = kept.map((tile) => tile ?? spare.shift() ?? this.#tile(true));
    const before = order.map((tile) => tile.isConnected && tile.getBoundingClientRect());
    this.tiles = new Map(pictures.map(({ seed }, i) => [seed, order[i]]));
    await Promise.all(order.map((tile, i) => show(tile, pictures[i].src)));
    this.#layOut(order.length);
    this.list.replaceChildren(...order.map((tile) => tile.parentElement));
    order.forEach((tile, i) => {
      this.#complete(tile, pictures, i);
      if (before[i]) move(tile, before[i]);
    });
  }

  /** The drawing ended early: what is unfinished stays as it is, and no longer moves. */
  stop() {
    this.list.querySelectorAll(".drawing").forEach((tile) => tile.classList.remove("drawing"));
  }

  focus(place) {
    this.list.querySelectorAll(".tile")[place]?.focus();
  }

  #tile(isDrawing) {
    const tile = this.template.content.cloneNode(true).querySelector(".tile");
    tile.classList.toggle("drawing", isDrawing);
    tile.setAttribute("aria-disabled", "true");
    return tile;
  }

  #complete(tile, pictures, place) {
    const { score } = pictures[place];
    tile.classList.remove("drawing");
    tile.classList.add("done");
    tile.removeAttribute("aria-disabled");
    uncover(tile, 1, 400);
    const words = score === null ? "" : score.toFixed(1);
    tile.querySelector(".score").textContent = words;
    this.#label(tile, `Picture ${place + 1} of ${pictures.length}${words && `, score ${words}`}. Enlarge`);
  }

  #label(tile, words) {
    tile.setAttribute("aria-label", words);
  }

  #layOut(count) {
    this.columns = Math.ceil(Math.sqrt(count));
    this.list.style.setProperty("--columns", this.columns);
    this.list.style.setProperty("--rows", Math.ceil(count / this.columns));
  }

  #open(event) {
    const tile = event.target.closest(".tile.done");
    if (tile) this.onOpen([...this.list.querySelectorAll(".tile")].indexOf(tile));
  }

  #walk(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    if (!(event.key in steps)) return;
    const tiles = [...this.list.querySelectorAll(".tile")];
    const next = tiles[tiles.indexOf(document.activeElement) + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}

/** Puts a picture into a tile once it is decoded, so that nothing flickers. */
async function show(tile, src) {
  const next = new Image();
  next.src = src;
  await next.decode().catch(() => {});
  tile.querySelector("img").src = src;
  tile.classList.add("begun");
}

function uncover(tile, share, durationMs) {
  tile.style.setProperty("--reveal-time", calm.matches ? "0s" : `${Math.round(durationMs)}ms`);
  tile.style.setProperty("--drawn", share);
}

function move(tile, before) {
  const after = tile.getBoundingClientRect();
  const [x, y] = [before.left - after.left, before.top - after.top];
  if (calm.matches || (!x && !y)) return;
  tile.animate([{ transform: `translate(${x}px, ${y}px)`, zIndex: 1 }, { transform: "none", zIndex: 1 }], {
    duration: MOVE_MS,
    easing: "cubic-bezier(.3, .9, .3, 1)",
  });
}
