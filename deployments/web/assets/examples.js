// Prompts to begin with: what the model says it can draw, and for models that say nothing what they are known for.

const OF_OTHERS = [
  "an armchair in the shape of an avocado", "a sunset over a lake in the mountains", "a painting of a lighthouse in a storm",
  "a logo of a robot", "the Eiffel tower landing on the moon", "a snowy forest at night",
];

const SHORT = 26; // letters

/** A few of the prompts that suit a model, others each time. */
export function examplesFor(model, count = 6) {
  const prompts = model?.example_prompts.length ? [...model.example_prompts] : [...OF_OTHERS];
  for (let i = prompts.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [prompts[i], prompts[j]] = [prompts[j], prompts[i]];
  }
  return prompts.sort((one, other) => (one.length > SHORT) - (other.length > SHORT)).slice(0, count); // more of them are seen
}
