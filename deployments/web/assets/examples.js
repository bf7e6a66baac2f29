// Prompts to begin with: things that the shipped model draws well, and for other models what they are known for.

const OF_EMOJI = [
  "an avocado", "a red apple", "a rocket", "an octopus", "a unicorn", "a robot", "a sunflower", "a panda", "a fox",
  "a guitar", "a castle", "a birthday cake", "a ghost", "a dinosaur", "an owl", "a snail", "a ladybug", "a cactus",
  "a rainbow", "saturn", "a pineapple", "a croissant", "an ice cream cone", "a hamburger",
];
const OF_OTHERS = [
  "an armchair in the shape of an avocado", "a sunset over a lake in the mountains", "a painting of a lighthouse in a storm",
  "a logo of a robot", "the Eiffel tower landing on the moon", "a snowy forest at night",
];

/** A few of the prompts that suit a model, others each time. */
export function examplesFor(model, count = 6) {
  const prompts = [...(model?.id === "emoji" ? OF_EMOJI : OF_OTHERS)];
  for (let i = prompts.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [prompts[i], prompts[j]] = [prompts[j], prompts[i]];
  }
  return prompts.slice(0, count);
}
