// OpenAI's own client against the service: node client.mjs BASE_URL MODEL
import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });

const models = [];
for await (const found of client.models.list()) models.push(found.id);
assert.deepEqual(models, [model]);

const ask = { model, messages: [{ role: "system", content: "A story." }, { role: "user", content: "Once upon a time" }], temperature: 0, max_tokens: 30 };
const whole = await client.chat.completions.create(ask);
assert.equal(whole.object, "chat.completion");
assert.equal(whole.choices[0].message.role, "assistant");
assert.ok(whole.choices[0].message.content.length > 20);
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);

let text = "", role = null, finish = null, usage = null, pieces = 0;
for await (const piece of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
  assert.equal(piece.object, "chat.completion.chunk");
  role ??= piece.choices[0]?.delta.role;
  text += piece.choices[0]?.delta.content ?? "";
  finish = piece.choices[0]?.finish_reason ?? finish;
  usage = piece.usage ?? usage;
  pieces++;
}
assert.equal(role, "assistant");
assert.equal(text, whole.choices[0].message.content);
assert.equal(finish, whole.choices[0].finish_reason);
assert.deepEqual(usage, whole.usage);
assert.ok(pieces > 5);

const stopped = await client.chat.completions.create({ ...ask, stop: [" was"] });
assert.ok(!stopped.choices[0].message.content.includes(" was"));
assert.equal(stopped.choices[0].finish_reason, "stop");

const seeded = { ...ask, temperature: 0.9, seed: 11 };
const [one, two] = await Promise.all([client.chat.completions.create(seeded), client.chat.completions.create(seeded)]);
assert.equal(one.choices[0].message.content, two.choices[0].message.content);

const parts = await client.chat.completions.create({ ...ask, messages: [{ role: "user", content: [{ type: "text", text: "Once upon" }, { type: "text", text: " a time" }] }] });
const plain = await client.completions.create({ model, prompt: "Once upon a time", temperature: 0, max_tokens: 30 });
assert.equal(plain.object, "text_completion");
assert.equal(plain.choices[0].text, parts.choices[0].message.content);

await assert.rejects(client.chat.completions.create({ ...ask, model: "other" }), OpenAI.NotFoundError);
await assert.rejects(client.chat.completions.create({ ...ask, temperature: 9 }), error => error instanceof OpenAI.BadRequestError && error.param === "temperature");

const streams = await Promise.all(Array.from({ length: 8 }, () => client.chat.completions.create({ ...ask, stream: true })));
const texts = await Promise.all(streams.map(async stream => { let all = ""; for await (const piece of stream) all += piece.choices[0]?.delta.content ?? ""; return all; }));
assert.deepEqual(new Set(texts), new Set([text]));
console.log("all as expected");
