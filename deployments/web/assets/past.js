// What was drawn before, as the page shows it: to be searched, opened again, exported and imported.

import { save } from "./files.js";
import { say } from "./status.js";

const part = (id) => document.getElementById(id);

export class Past {
  /** @param onOpen called with a drawing that is clicked. */
  constructor(history, onOpen) {
    Object.assign(this, { history, onOpen });
    part("history-search").oninput = () => this.#list();
    part("forget").onclick = async () => {
      if (!confirm("Forget all drawings of this list? Exported ones stay.")) return;
      await history.clear();
      await this.show();
    };
    part("export").onclick = () => this.#export();
    part("import").onclick = () => part("history-file").click();
    part("history-file").onchange = () => this.#import();
  }

  async show() {
    this.drawings = await this.history.all();
    const isEmpty = this.drawings.length === 0;
    for (const id of ["export", "forget", "history-search"]) part(id).hidden = isEmpty;
    this.#list();
    if (isEmpty) part("history-none").textContent = "What you draw is kept here, in this browser alone.";
  }

  #list() {
    const wanted = part("history-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.drawings.filter(({ label }) => wanted.every((word) => label.toLowerCase().includes(word)));
    part("runs").replaceChildren(...found.map((drawing) => this.#entry(drawing)));
    part("history-none").textContent = found.length || !wanted.length ? "" : "No drawing has these words.";
  }

  #entry(drawing) {
    const entry = part("run").content.cloneNode(true);
    const pictures = drawing.pictures.slice(0, 4).map(({ src }) => Object.assign(new Image(), { src, alt: "" }));
    entry.querySelector(".mini").append(...pictures);
    entry.querySelector(".words").textContent = drawing.label;
    const button = entry.querySelector("button");
    button.title = `${drawing.label}\n${new Date(drawing.at).toLocaleString()}`;
    button.onclick = () => this.onOpen(drawing);
    return entry;
  }

  async #export() {
    const { pack } = await import("./archive.js");
    save(pack(this.drawings), `dalle-serve-history-${new Date().toISOString().slice(0, 10)}.json`);
  }

  async #import() {
    const [file] = part("history-file").files;
    part("history-file").value = "";
    if (!file) return;
    try {
      const { unpack } = await import("./archive.js");
      const known = new Set(this.drawings.map(nameOf));
      const found = unpack(await file.text()).filter((drawing) => !known.has(nameOf(drawing)));
      await this.history.add(...found.sort((one, other) => one.at - other.at));
      await this.show();
      say(found.length ? `Imported: ${found.length}.` : "All of these are here already.");
    } catch (error) {
      say(error.message);
    }
  }
}

function nameOf({ at, label, fields }) {
  return `${at} ${fields.seed} ${label}`;
}
