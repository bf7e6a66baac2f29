// The form's fields: what to ask for, as the API names it.

import { judgeValue } from "./hints.js";

export const NUMBERS = ["n", "best_of", "seed", "guidance_scale", "temperature", "top_k", "top_p"];
export const TEXTS = ["model", "negative_prompt", "size", "output_format", "background"];
const SAMPLING = ["guidance_scale", "temperature", "top_k", "top_p"];
const LINES = 6; // of a prompt that are seen at once

export class Settings {
  constructor(form) {
    this.form = form;
    this.models = [];
    this.refiners = [];
    form.addEventListener("input", ({ target }) => this.#changed(target));
  }

  /** Offers the models that are served, and shows what each takes where a field is left empty. */
  offer(models, onModel) {
    const chosen = this.form.model.value;
    this.models = models.filter(({ refines }) => !refines);
    this.refiners = models.filter(({ refines }) => refines);
    this.form.model.replaceChildren(...this.models.map(({ id }) => new Option(id, id)));
    if (this.models.some(({ id }) => id === chosen)) this.form.model.value = chosen;
    this.form.model.onchange = () => {
      this.#describe();
      onModel();
    };
    this.#describe();
  }

  get model() {
    return this.models.find(({ id }) => id === this.form.model.value);
  }

  /** What refines a model's pictures, or those it has refined; undefined where nothing does. */
  refinerOf(model) {
    return this.refiners.find(({ id, refines }) => model === id || model === refines);
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

  /** The same with what the model takes where nothing is said: so it can be drawn again when that has changed. */
  complete(fields) {
    const { id, sampling = {} } = this.models.find(({ id }) => id === fields.model) ?? this.models[0] ?? {};
    return { ...(id && { model: id }), ...sampling, ...fields };
  }

  /** Fills the form; what is not given, or is the model's own, becomes empty. */
  write(fields) {
    if (this.models.some(({ id }) => id === fields.model)) this.form.model.value = fields.model;
    const own = this.model?.sampling ?? {};
    for (const name of [...TEXTS.slice(1), ...NUMBERS, "prompt"]) {
      const value = fields[name] ?? "";
      this.form[name].value = SAMPLING.includes(name) && value === own[name] ? "" : value;
      if (this.form[name].selectedIndex !== -1) continue;
      this.form[name].add(new Option(value, value)); // a size that is not among those offered
      this.form[name].value = value;
    }
    this.#describe();
  }

  /** Points at the field that an error is about. */
  blame(name, message) {
    const input = this.form.elements[name];
    if (!input) return;
    const panel = input.closest("details");
    if (panel) panel.open = true;
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
    const { sampling = {}, max_n, max_best_of, ranks_images = true, can_be_guided = true, backgrounds = [], size = "" } = this.model ?? {};
    for (const name of SAMPLING) {
      this.form[name].placeholder = sampling[name] ?? "the model's";
      judgeValue(this.form[name], this.model);
    }
    if (max_n) this.form.n.max = max_n;
    if (max_best_of) this.form.best_of.max = max_best_of;
    this.form.best_of.disabled = !ranks_images;
    this.form.guidance_scale.disabled = this.form.negative_prompt.disabled = !can_be_guided;
    this.form.size.options[0].textContent = size.replace("x", " × ") || "the model’s own";
    this.form.background.disabled = !backgrounds.includes("transparent");
    (this.form.background.closest("div") ?? this.form.background).hidden = this.form.background.disabled;
    this.#fitPrompt();
  }

  #changed(target) {
    if (target.name === "prompt") this.#fitPrompt();
    judgeValue(target, this.model);
  }

  /** As many lines as the prompt has, up to a few. */
  #fitPrompt() {
    const { prompt } = this.form;
    prompt.rows = 1;
    const line = parseFloat(getComputedStyle(prompt).lineHeight);
    while (prompt.rows < LINES && prompt.scrollHeight > prompt.clientHeight + line / 2) prompt.rows += 1;
  }
}

export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
