// The pictures in rows and columns: drawn downwards while previews come, moved to their places when they are ranked.

import { leadersOf } from "./similar.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const MOVE_MS = 600;
const FIRST_REVEAL_MS = 900;

export class Grid {
  /** @param actions by what is done with a finished picture, called with its place: `open`, `save`, `copy`, `edit`. */
  constructor(list, template, actions) {
    Object.assign(this, { list, template, actions });
    this.tiles = new Map(); // by the seed of what is drawn there
    list.addEventListener("click", (event) => this.#click(event));
    list.addEventListener("keydown", (event) => this.#walk(event));
    list.addEventListener("focusin", (event) => this.#rove(event.target.closest("li")));
  }

  /** Makes room for pictures with these seeds, all still to be drawn; on a `base` that shows through meanwhile. */
  start(seeds, { isDrawing = true, base } = {}) {
    this.tiles = new Map(seeds.map((seed) => [seed, this.#tile(isDrawing, base)]));
    this.list.replaceChildren(...[...this.tiles.values()].map((tile) => tile.parentElement));
    this.#layOut();
    seeds.forEach((seed, i) => this.#label(this.tiles.get(seed), `Picture ${i + 1} of ${seeds.length}, not drawn yet`));
  }

  /** Shows the rows that are drawn so far; those to come stay covered. */
  async preview({ seed, src, progress }) {
    const tile = this.tiles.get(seed);
    if (!tile || progress < (tile.progress ?? 0)) return; // begun again: it comes to here once more
    tile.progress = progress;
    const now = performance.now();
    const sinceLast = Math.min(now - (tile.seenAt ?? now - FIRST_REVEAL_MS), 4000);
    tile.seenAt = now;
    const isOvertaken = () => tile.progress !== progress || !tile.classList.contains("drawing");
    await show(tile, src, isOvertaken); // by a later one, while this one was being decoded
    if (isOvertaken()) return;
    uncover(tile, progress, sinceLast);
    this.#label(tile, `Being drawn, ${Math.round(progress * 100)} %`);
  }

  /** Puts the finished pictures into their places, best first, near copies behind the best of them. */
  async finish(pictures) {
    const unused = new Set(this.tiles.values());
    const kept = pictures.map(({ seed }) => this.tiles.get(seed));
    kept.forEach((tile) => unused.delete(tile));
    const spare = [...unused];
    const order = kept.map((tile) => tile ?? spare.shift() ?? this.#tile(true));
    const before = order.map((tile) => tile.isConnected && tile.getBoundingClientRect());
    this.tiles = new Map(pictures.map(({ seed }, i) => [seed, order[i]]));
    const [leaders] = await Promise.all([leadersOf(pictures), ...order.map((tile, i) => show(tile, pictures[i].src))]);
    this.list.replaceChildren(...order.map((tile) => tile.parentElement));
    order.forEach((tile, i) => this.#complete(tile, pictures, i));
    this.#stack(order, leaders);
    this.#layOut();
    order.forEach((tile, i) => before[i] && move(tile, before[i]));
    this.#rove(order[0].parentElement);
  }

  /** The drawing ended early: what is begun stays, as far as it came; what is not goes. Gives how much stays. */
  stop() {
    this.list.querySelectorAll(".drawing").forEach((tile) => {
      if (!tile.classList.contains("begun")) return tile.parentElement.remove();
      tile.classList.replace("drawing", "left");
      this.#label(tile, `Left unfinished, ${Math.round(tile.style.getPropertyValue("--drawn") * 100)} % drawn`);
    });
    this.#layOut();
    return this.list.children.length;
  }

  focus(place) {
    const tile = this.list.querySelectorAll(".tile")[place];
    if (tile?.parentElement.hidden) this.list.querySelectorAll("li")[tile.leader].querySelector(".similar").click();
    tile?.focus();
  }

  #tile(isDrawing, base) {
    const tile = this.template.content.cloneNode(true).querySelector(".tile");
    tile.classList.toggle("drawing", isDrawing);
    tile.setAttribute("aria-disabled", "true");
    if (base) {
      tile.classList.add("based");
      tile.style.setProperty("--base", `url("${base}")`);
    }
    return tile;
  }

  #complete(tile, pictures, place) {
    const { score } = pictures[place];
    tile.classList.remove("drawing", "left");
    tile.classList.add("done");
    tile.removeAttribute("aria-disabled");
    uncover(tile, 1, 400);
    const words = score === null ? "" : score.toFixed(1);
    tile.querySelector(".score").textContent = words;
    this.#label(tile, `Picture ${place + 1} of ${pictures.length}${words && `, score ${words}`}. Enlarge`);
  }

  /** Near copies are hidden until they are asked for, at the picture that they are like. */
  #stack(order, leaders) {
    order.forEach((tile, i) => {
      tile.leader = leaders[i];
      tile.parentElement.hidden = leaders[i] !== i;
      const copies = order.filter((_, other) => other !== i && leaders[other] === i).map((each) => each.parentElement);
      const button = tile.parentElement.querySelector(".similar");
      button.hidden = copies.length === 0;
      button.textContent = `similar (${copies.length})`;
      button.setAttribute("aria-expanded", "false");
      button.onclick = () => {
        const isOpen = button.getAttribute("aria-expanded") === "false";
        button.setAttribute("aria-expanded", String(isOpen));
        copies.forEach((copy) => (copy.hidden = !isOpen));
      };
    });
  }

  #label(tile, words) {
    tile.setAttribute("aria-label", words);
  }

  #layOut() {
    this.columns = Math.ceil(Math.sqrt(this.list.children.length)) || 1;
    this.list.style.setProperty("--columns", this.columns);
  }

  #click(event) {
    const entry = event.target.closest("li");
    const act = event.target.closest("[data-do]")?.dataset.do ?? (event.target.closest(".tile") && "open");
    if (act && entry.querySelector(".tile.done")) this.actions[act]([...this.list.children].indexOf(entry));
  }

  #walk(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    if (!(event.key in steps)) return;
    const tiles = [...this.list.querySelectorAll(".tile")].filter((tile) => !tile.parentElement.hidden);
    const at = tiles.findIndex((tile) => tile.parentElement.contains(document.activeElement));
    const next = tiles[at + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  /** One picture at a time is on the way of the Tab key, with what can be done with it; arrows walk to others. */
  #rove(entry) {
    for (const each of this.list.children) {
      for (const button of each.querySelectorAll("button")) button.tabIndex = each === entry ? 0 : -1;
    }
  }
}

/** Puts a picture into a tile once it is decoded, so that nothing flickers. */
async function show(tile, src, isOvertaken = () => false) {
  const next = new Image();
  next.src = src;
  await next.decode().catch(() => {});
  if (isOvertaken()) return;
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
  tile.parentElement.animate([{ transform: `translate(${x}px, ${y}px)`, zIndex: 1 }, { transform: "none", zIndex: 1 }], {
    duration: MOVE_MS,
    easing: "cubic-bezier(.3, .9, .3, 1)",
  });
}
