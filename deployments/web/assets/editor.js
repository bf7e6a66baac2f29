// The easel: a picture, and which of its fields shall be drawn anew, painted by mouse, touch or keys; or how much
// variations of it shall change.

import { Mask } from "./mask.js";
import { squared } from "./picture.js";

const HELP = {
  edit: "Paint over what shall be drawn anew, and say above what shall be there.",
  vary: "The model draws from the top down: the upper part stays, and the rest is drawn anew.",
};

export class Editor {
  #place = null; // {row, column}: where the brush is
  #erases = false;

  /** @param onClosed called when the picture is put away. */
  constructor(root, onClosed) {
    this.root = root;
    const part = (id) => root.querySelector(`#${id}`);
    this.part = part;
    this.canvas = part("canvas");
    this.source = null; // {src, side, from}
    this.canvas.addEventListener("pointerdown", (event) => this.#press(event));
    this.canvas.addEventListener("pointermove", (event) => this.#drag(event));
    this.canvas.addEventListener("pointerleave", () => this.#hover(null));
    this.canvas.addEventListener("keydown", (event) => this.#onKey(event));
    this.canvas.addEventListener("blur", () => this.#hover(null));
    root.addEventListener("change", (event) => event.target.name === "mode" && this.#show());
    part("strength").oninput = () => this.#show();
    part("brush").onclick = () => this.#take(false);
    part("eraser").onclick = () => this.#take(true);
    part("undo").onclick = () => this.#change(() => this.mask.undo());
    part("invert").onclick = () => this.#change(() => this.mask.invert());
    part("editor-form").onsubmit = (event) => event.preventDefault();
    part("editor-close").onclick = () => {
      this.close();
      onClosed();
    };
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  get isOpen() {
    return !this.root.hidden;
  }

  /**
   * Shows a picture, a file or a data URL; throws where it is none.
   *
   * @param from the fields that draw this very picture, where there are such: with them a link can say what was done.
   */
  async open(file, { grid, mode = "edit", from = null, mask = null, keep = null }) {
    const picture = await squared(file, grid);
    this.source = { ...picture, from };
    this.grid = grid;
    this.mask = mask ? Mask.parse(mask, grid) : new Mask(grid);
    this.root.querySelector(`[name=mode][value=${mode}]`).checked = true;
    if (keep !== null) this.part("strength").value = Math.round((1 - keep) * 100);
    this.part("canvas-picture").src = picture.src;
    this.root.hidden = false;
    this.#take(false);
    this.#show();
  }

  close() {
    this.root.hidden = true;
  }

  /** What is to be done: `{kind, source}`; null, said to who is there, where nothing is marked. */
  read() {
    const { src, side, from } = this.source;
    const source = { src, side, ...(from && { from }) };
    if (this.#mode === "vary") return { kind: "vary", source: { ...source, keep: 1 - this.#strength } };
    if (!this.mask.isEmpty) return { kind: "edit", source: { ...source, mask: String(this.mask) } };
    this.part("editor-help").textContent = "Nothing is marked yet: paint over what shall be drawn anew.";
    this.canvas.focus();
    return null;
  }

  get #mode() {
    return this.root.querySelector("[name=mode]:checked").value;
  }

  get #strength() {
    return this.part("strength").value / 100;
  }

  get #size() {
    return this.part("brush-size").valueAsNumber;
  }

  #show() {
    const mode = this.#mode;
    for (const row of this.root.querySelectorAll("[data-for]")) row.hidden = row.dataset.for !== mode;
    this.canvas.tabIndex = mode === "edit" ? 0 : -1;
    this.part("editor-help").textContent = HELP[mode];
    const share = Math.round(this.#strength * 100);
    this.part("strength-words").textContent = share === 100 ? "everything" : `the lower ${share} %`;
    this.#draw();
  }

  #take(eraser) {
    this.#erases = eraser;
    this.part("brush").setAttribute("aria-pressed", String(!eraser));
    this.part("eraser").setAttribute("aria-pressed", String(eraser));
  }

  #change(action) {
    action();
    this.#draw();
  }

  // ---- by pointer

  #press(event) {
    if (this.#mode !== "edit" || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.mask.begin();
    this.#place = this.#placeOf(event);
    this.#paint(this.#place);
  }

  #drag(event) {
    const to = this.#placeOf(event);
    const from = this.#place ?? to;
    if (event.buttons && this.canvas.hasPointerCapture(event.pointerId)) {
      const steps = Math.ceil(2 * Math.hypot(to.row - from.row, to.column - from.column)); // no gaps in a quick stroke
      for (let i = 1; i <= steps; i++) {
        this.mask.paint(from.row + ((to.row - from.row) * i) / steps, from.column + ((to.column - from.column) * i) / steps, this.#size, Number(!this.#erases));
      }
    }
    this.#hover(to);
  }

  #hover(place) {
    this.#place = place;
    this.#draw();
  }

  #placeOf({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    const [rows, columns] = this.grid;
    return { row: ((clientY - box.top) / box.height) * rows, column: ((clientX - box.left) / box.width) * columns };
  }

  #paint({ row, column }) {
    this.mask.paint(row, column, this.#size, Number(!this.#erases));
    this.#draw();
  }

  // ---- by keys

  #onKey(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const acts = {
      " ": () => (this.mask.begin(), this.#paint(this.#place)),
      e: () => this.#take(!this.#erases),
      i: () => this.mask.invert(),
      z: () => event.ctrlKey || event.metaKey ? this.mask.undo() : null,
    };
    if (this.#mode !== "edit" || !(event.key in moves || event.key in acts)) return;
    event.preventDefault();
    const [rows, columns] = this.grid;
    this.#place ??= { row: rows / 2 + 0.5, column: columns / 2 + 0.5 };
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      this.#place = {
        row: Math.min(Math.max(Math.floor(this.#place.row) + 0.5 + down, 0.5), rows - 0.5),
        column: Math.min(Math.max(Math.floor(this.#place.column) + 0.5 + right, 0.5), columns - 0.5),
      };
      if (event.shiftKey) {
        this.mask.begin();
        this.#paint(this.#place);
      }
    } else acts[event.key]();
    this.#draw();
  }

  // ---- what is seen

  #draw() {
    if (this.root.hidden || !this.source) return;
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (!side) return;
    if (this.canvas.width !== side) Object.assign(this.canvas, { width: side, height: side });
    const brush = this.canvas.getContext("2d");
    brush.clearRect(0, 0, side, side);
    const mask = this.#mode === "edit" ? this.mask : Mask.below(1 - this.#strength, this.grid);
    brush.fillStyle = hatching(brush);
    mask.each(side, (...field) => brush.fillRect(...field));
    this.part("undo").disabled = !this.mask.canUndo;
    if (!this.#place || this.#mode !== "edit") return;
    brush.lineWidth = 2 * devicePixelRatio;
    const unit = side / this.grid[1];
    for (const [color, wider] of [["#000", 0], ["#fff", brush.lineWidth]]) {
      brush.strokeStyle = color;
      brush.beginPath();
      brush.arc(this.#place.column * unit, this.#place.row * unit, (this.#size / 2) * unit + wider, 0, 2 * Math.PI);
      brush.stroke();
    }
  }
}

/** Stripes that are seen on any colour. */
function hatching(brush) {
  const side = 8 * Math.ceil(devicePixelRatio);
  const tile = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const pen = tile.getContext("2d");
  pen.fillStyle = "rgb(255 255 255 / 70%)";
  pen.fillRect(0, 0, side, side);
  pen.strokeStyle = "rgb(30 80 45 / 80%)";
  pen.lineWidth = side / 6;
  for (const shift of [-side, 0, side]) {
    pen.moveTo(shift - 1, side + 1);
    pen.lineTo(shift + side + 1, -1);
  }
  pen.stroke();
  return brush.createPattern(tile, "repeat");
}
