// One picture, large and sharp: walk to its neighbours, compare it with what it was drawn on, and what else can be done.

import { decoded } from "./picture.js";
import { drawSharp } from "./resample.js";

const MAX_SIDE = 1600; // device pixels

export class Viewer {
  /** @param actions by the id of a button what it does with `(drawing, place)`, giving words to show or nothing; `closed(place)`. */
  constructor(dialog, actions) {
    this.dialog = dialog;
    this.part = (id) => dialog.querySelector(`#${id}`);
    this.part("previous").onclick = () => this.#step(-1);
    this.part("next").onclick = () => this.#step(1);
    this.part("close").onclick = () => dialog.close();
    for (const id of ["save-one", "copy-one", "link-one"]) {
      this.part(id).onclick = async () => (this.part("viewer-status").textContent = (await actions[id](this.drawing, this.place)) ?? "");
    }
    for (const id of ["edit-one", "vary", "refine-one"]) {
      this.part(id).onclick = () => {
        dialog.close();
        actions[id](this.drawing, this.place);
      };
    }
    this.part("pixels").onclick = () => {
      const isOn = this.part("pixels").getAttribute("aria-pressed") === "false";
      this.part("pixels").setAttribute("aria-pressed", String(isOn));
      dialog.classList.toggle("pixels", isOn);
    };
    this.part("compare").oninput = () => this.#compare();
    dialog.addEventListener("close", () => actions.closed(this.place));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(() => this.#sharpen()).observe(this.part("large"));
  }

  open(drawing, place, { isLinkable, isRefinable }) {
    Object.assign(this, { drawing, place });
    this.part("refine-one").hidden = !isRefinable;
    this.part("link-one").hidden = !isLinkable;
    this.part("previous").hidden = this.part("next").hidden = drawing.pictures.length === 1;
    this.part("compare-label").hidden = this.part("before").hidden = !drawing.source;
    this.dialog.classList.toggle("compared", drawing.source !== undefined);
    this.dialog.classList.toggle("clear", drawing.fields.background === "transparent");
    this.part("compare").value = 50;
    this.#compare();
    this.#show();
    this.dialog.showModal();
    this.part("save-one").focus();
  }

  #step(by) {
    const count = this.drawing.pictures.length;
    this.place = (this.place + by + count) % count;
    this.#show();
  }

  #onKey(event) {
    if (event.target.type === "range") return; // arrows move it
    if (event.key === "ArrowLeft") this.#step(-1);
    if (event.key === "ArrowRight") this.#step(1);
  }

  #compare() {
    this.part("before").style.clipPath = `inset(0 ${100 - this.part("compare").value}% 0 0)`;
    this.dialog.style.setProperty("--split", this.part("compare").value / 100);
  }

  async #show() {
    const { label, pictures, fields } = this.drawing;
    const { seed, score, src, words } = pictures[this.place];
    const image = this.part("large");
    image.src = src;
    image.alt = `${label}, picture ${this.place + 1} of ${pictures.length}`;
    this.part("large-title").textContent = label;
    this.part("large-facts").textContent = [
      `${this.place + 1} of ${pictures.length}`,
      score !== null && `score ${score.toFixed(2)}`,
      `seed ${seed}`,
      fields.model,
    ]
      .filter(Boolean)
      .join(" · ");
    this.dialog.querySelector("[data-hint=score]").hidden = score === null;
    const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();
    const isOther = words && plain(words) !== plain(fields.prompt ?? "");
    this.part("large-words").textContent = isOther ? `The model read: ${words}` : "";
    this.part("viewer-status").textContent = "";
    await image.decode().catch(() => {});
    this.#sharpen();
  }

  /** Lays a sharp enlargement over a picture that is smaller than its place, and what it was drawn on over that. */
  async #sharpen() {
    const [image, canvas] = [this.part("large"), this.part("sharp")];
    const { naturalWidth: width, naturalHeight: height } = image;
    const room = Math.min(image.clientWidth / width, image.clientHeight / height);
    const scale = Math.min(room * devicePixelRatio, MAX_SIDE / Math.max(width, height));
    if (!image.complete || !(scale > 0)) return;
    const size = [Math.round(width * scale), Math.round(height * scale)];
    canvas.hidden = scale <= 1;
    if (scale > 1) drawSharp(image, canvas, ...size);
    if (this.drawing.source) drawSharp(await decoded(this.drawing.source.src), this.part("before"), ...size);
  }
}
