// One picture, large: walk to its neighbours, save it, link to it, draw variations of it.

import { saveOne } from "./files.js";

export class Viewer {
  /** @param actions `{copyLink(picture), vary(picture), closed(place)}`; copyLink gives what to say. */
  constructor(dialog, actions) {
    this.dialog = dialog;
    const part = (id) => dialog.querySelector(`#${id}`);
    this.parts = { image: part("large"), title: part("large-title"), facts: part("large-facts"), status: part("viewer-status") };
    this.linkButton = part("link-one");
    part("previous").onclick = () => this.#step(-1);
    part("next").onclick = () => this.#step(1);
    part("close").onclick = () => dialog.close();
    part("save-one").onclick = () => saveOne(this.drawing.label, this.#picture);
    this.linkButton.onclick = async () => (this.parts.status.textContent = await actions.copyLink(this.#picture));
    part("vary").onclick = () => {
      dialog.close();
      actions.vary(this.#picture);
    };
    dialog.addEventListener("close", () => actions.closed(this.place));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => this.#onKey(event));
  }

  open(drawing, place) {
    this.drawing = drawing;
    this.place = place;
    this.linkButton.hidden = !drawing.isLinkable;
    this.#show();
    this.dialog.showModal();
    this.dialog.querySelector("#save-one").focus();
  }

  get #picture() {
    return this.drawing.pictures[this.place];
  }

  #step(by) {
    const count = this.drawing.pictures.length;
    this.place = (this.place + by + count) % count;
    this.#show();
  }

  #onKey(event) {
    if (event.key === "ArrowLeft") this.#step(-1);
    if (event.key === "ArrowRight") this.#step(1);
  }

  #show() {
    const { label, pictures, fields } = this.drawing;
    const { seed, score, src } = this.#picture;
    const { image, title, facts, status } = this.parts;
    image.src = src;
    image.alt = `${label}, picture ${this.place + 1} of ${pictures.length}`;
    title.textContent = label;
    facts.textContent = [
      `${this.place + 1} of ${pictures.length}`,
      score !== null && `score ${score.toFixed(2)}`,
      `seed ${seed}`,
      fields.model,
    ]
      .filter(Boolean)
      .join(" · ");
    status.textContent = "";
  }
}
