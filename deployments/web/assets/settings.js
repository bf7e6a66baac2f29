// The form's fields: what to ask for, as the API names it; and the same as a link.

const NUMBERS = ["n", "best_of", "seed", "guidance_scale", "temperature", "top_k", "top_p"];
const TEXTS = ["model", "negative_prompt"];
const SEEDS = 2 ** 32;

export class Settings {
  constructor(form) {
    this.form = form;
    this.panel = form.querySelector("details");
    this.models = [];
  }

  /** Offers the models that are served, and shows what each takes where a field is left empty. */
  offer(models) {
    this.models = models;
    this.form.model.replaceChildren(...models.map(({ id }) => new Option(id, id)));
    this.form.model.onchange = () => this.#describe();
    this.#describe();
  }

  get model() {
    return this.models.find(({ id }) => id === this.form.model.value);
  }

  /** What to ask for; null, with the field in question focused, where something does not fit. */
  read() {
    for (const input of this.form.elements) input.setCustomValidity?.("");
    this.#checkByHand();
    const wrong = [...this.form.elements].find((input) => input.willValidate && !input.validity.valid);
    if (wrong) {
      this.blame(wrong.name, "");
      return null;
    }
    const fields = { prompt: this.form.prompt.value.trim() };
    for (const name of TEXTS) if (this.form[name].value && !this.form[name].disabled) fields[name] = this.form[name].value;
    for (const name of NUMBERS) if (this.form[name].value !== "" && !this.form[name].disabled) fields[name] = this.form[name].valueAsNumber;
    fields.seed ??= randomSeed();
    return fields;
  }

  /** Fills the form; fields that are not given become empty. */
  write(fields) {
    for (const name of [...TEXTS, ...NUMBERS, "prompt"]) {
      if (name === "model" && !this.models.some(({ id }) => id === fields.model)) continue;
      this.form[name].value = fields[name] ?? "";
    }
    this.#describe();
  }

  /** Points at the field that an error is about. */
  blame(name, message) {
    const input = this.form.elements[name];
    if (!input) return;
    if (input.closest("details")) this.panel.open = true;
    if (message) input.setCustomValidity(message);
    input.reportValidity();
    input.addEventListener("input", () => input.setCustomValidity(""), { once: true });
  }

  #checkByHand() {
    const { prompt, n, best_of } = this.form;
    if (!prompt.value.trim()) prompt.setCustomValidity("Say what to draw.");
    if (best_of.value !== "" && best_of.valueAsNumber < n.valueAsNumber) {
      best_of.setCustomValidity(`At least as many as there are pictures: ${n.value}.`);
    }
  }

  #describe() {
    const { sampling = {}, max_n, max_best_of, ranks_images = true, can_be_guided = true } = this.model ?? {};
    for (const name of ["guidance_scale", "temperature", "top_k", "top_p"]) {
      this.form[name].placeholder = sampling[name] ?? "the model's";
    }
    if (max_n) this.form.n.max = max_n;
    if (max_best_of) this.form.best_of.max = max_best_of;
    this.form.best_of.disabled = !ranks_images;
    this.form.guidance_scale.disabled = this.form.negative_prompt.disabled = !can_be_guided;
  }
}

export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** A link that draws the same again. The part after `#` stays in the browser: no log has the prompt. */
export function linkTo(fields) {
  const link = new URL(document.baseURI);
  link.hash = new URLSearchParams(fields);
  return link.href;
}

/** The fields in the page's own link; null where it has none. */
export function linkedFields() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.get("prompt")) return null;
  const fields = { prompt: given.get("prompt") };
  for (const name of TEXTS) if (given.has(name)) fields[name] = given.get(name);
  for (const name of NUMBERS) if (Number.isFinite(parseFloat(given.get(name)))) fields[name] = Number(given.get(name));
  return fields;
}

/** The fields for one picture of a drawing: with its seed and n = 1 it is drawn again. */
export function fieldsOfOne({ best_of, ...fields }, seed) {
  return { ...fields, n: 1, seed: seed % SEEDS };
}
