// OpenAI's client for Node.js before a service: node openai_client.mjs URL PICTURE. Prints a JSON object of what it saw.

import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

const [url, picture] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, timeout: 120_000 });
const file = () => toFile(readFileSync(picture), "picture.png", { type: "image/png" });
const magic = (entry) => Buffer.from(entry.b64_json, "base64").subarray(0, 4).toString("latin1");
const seen = {};

const generated = await client.images.generate({ prompt: "an avocado", n: 2, size: "64x64", quality: "low", response_format: "b64_json", seed: 5 });
seen.generated = generated.data.map(magic);
seen.about = [generated.size, generated.quality, generated.usage.output_tokens > 0, Boolean(generated._request_id)];

const events = [];
for await (const event of await client.images.generate({ prompt: "an avocado", stream: true, partial_images: 2 })) events.push(event.type);
seen.streamed = [events.at(-1), events.slice(0, -1).every((type) => type === "image_generation.partial_image")];

seen.edited = (await client.images.edit({ image: [await file(), await file()], mask: await file(), prompt: "a hat", response_format: "b64_json" })).data.map(magic);
seen.varied = (await client.images.createVariation({ image: await file(), response_format: "b64_json" })).data.map(magic);

seen.models = [];
for await (const model of await client.models.list()) seen.models.push(model.id);
seen.model = (await client.models.retrieve("tiny")).id;

async function refused(call) {
  try {
    await call();
  } catch (error) {
    return [error.constructor.name, error.status, error.code, error.param, Boolean(error.requestID)];
  }
}
seen.unknownModel = await refused(() => client.models.retrieve("org/none"));
seen.unknownField = await refused(() => client.images.generate({ prompt: "x", passes: 3 }));
seen.withoutV1 = await refused(() => new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 }).images.generate({ prompt: "x" }));

const leaving = new AbortController();
setTimeout(() => leaving.abort(), 50);
seen.left = await refused(() => client.images.generate({ prompt: "x", n: 2, best_of: 64 }, { signal: leaving.signal }));
console.log(JSON.stringify(seen));
