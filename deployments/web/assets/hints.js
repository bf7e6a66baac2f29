// What settings mean, and what values the model in question draws well with.

const WORDS = {
  attach: "Choose, drop or paste a picture: to draw on it, or, if it was drawn here, to have its settings back.",
  score: "How well the picture fits the words, by the model’s own judge (CLIP). It only tells pictures of the same prompt apart.",
  n: "How many pictures are drawn at once.",
  best_of: "Draws that many, and keeps the best by their scores.",
  seed: "The same prompt, seed and settings draw the same pictures. Empty takes a new one each time.",
  guidance_scale: "How hard to follow the prompt. 1 is plain drawing; above it a negative prompt acts too.",
  temperature: "Below 1 draws safer and more alike, above 1 wilder.",
  top_k: "Each code is drawn from the k likeliest; 0 draws from all.",
  top_p: "Each code is drawn from the likeliest that make up this share; 1 draws from all.",
  negative_prompt: "What to keep away from. It acts only with a guidance above 1.",
  size: "Scaled from what the model draws; what stays free is filled with the colour of the border.",
  output_format: "PNG keeps every pixel. JPEG and WebP are smaller.",
  background: "Transparent where the picture has a plain ground.",
};

/** Puts a button with an explanation behind the words of each field. */
export function explainFields(form) {
  for (const label of form.querySelectorAll(".fields label")) {
    const field = label.querySelector("input, select");
    if (!(field.name in WORDS)) continue;
    const name = label.firstChild.textContent.trim();
    const help = Object.assign(document.createElement("button"), { type: "button", className: "help", textContent: "?" });
    help.dataset.hint = field.name;
    help.setAttribute("aria-label", `About: ${name}`);
    const holder = document.createElement("div"); // a button inside a label would act for its field
    holder.className = label.className;
    label.className = "";
    label.replaceWith(holder);
    const beyond = Object.assign(document.createElement("p"), { className: "beyond", hidden: true });
    beyond.id = `beyond-${field.name}`;
    field.setAttribute("aria-describedby", beyond.id);
    holder.append(label, help, beyond);
  }
}

/** The explanation of that name, for a model. */
export function explanation(name, model) {
  const range = model?.ranges?.[name];
  return range ? `${WORDS[name]} Good with ${model.id}: ${range[0]} to ${range[1]}.` : WORDS[name];
}

/** Says beside a field when its value is beyond what the model draws well with. */
export function judgeValue(field, model) {
  const beyond = document.getElementById(`beyond-${field.name}`);
  const range = model?.ranges?.[field.name];
  if (!beyond || !range) return beyond?.setAttribute("hidden", "");
  const value = field.value === "" ? NaN : Number(field.value);
  beyond.hidden = !(value < range[0] || value > range[1]);
  beyond.textContent = `${model.id} draws well from ${range[0]} to ${range[1]}`;
}
