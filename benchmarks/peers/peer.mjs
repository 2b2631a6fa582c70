// One question to llama.cpp in a process of its own: the answer is one JSON value on stdout.
//   node peer.mjs tokenize MODEL '{"text":"..."}'
//   node peer.mjs logits MODEL '{"ids":[...],"raw":"FILE"}'      logits of every position as little-endian float32
//   node peer.mjs perplexity MODEL '{"text":"..."}'
//   node peer.mjs bench MODEL '{"promptTokens":512,"generateTokens":128,"depth":0,"threads":2}'
import { openSync, readFileSync, writeSync } from "node:fs";
import { negativeLogLikelihood, windowsOf } from "./figures.mjs";
import { Peer } from "./llama.mjs";

const [command, file, json] = process.argv.slice(2);
const options = JSON.parse(json ?? "{}");
const threads = options.threads ?? 2;
const seconds = (since) => Number(process.hrtime.bigint() - since) / 1e9;

const commands = {
  tokenize() {
    return new Peer(file, { threads, context: 64 }).tokenize(options.text, options);
  },

  logits() {
    const peer = new Peer(file, { threads, kv: options.kv ?? "F32", context: Math.max(64, options.ids.length), exact: true });
    const out = openSync(options.raw, "w");
    peer.append(options.ids, (_, row) => writeSync(out, new Uint8Array(row.buffer, row.byteOffset, row.byteLength)));
    return { positions: options.ids.length, vocabularySize: peer.vocabularySize };
  },

  perplexity() {
    const window = options.window ?? 512;
    const peer = new Peer(file, { threads, kv: options.kv ?? "F32", context: window, batch: window, exact: true });
    const ids = peer.tokenize(readFileSync(options.text, "utf8"), { addBos: false });
    let sum = 0, count = 0;
    for (const part of windowsOf(ids, window, peer.bosId)) {
      peer.clear();
      peer.append(part, (index, row) => {
        if (index + 1 < part.length) {
          sum += negativeLogLikelihood(row, part[index + 1]);
          count++;
        }
      });
    }
    return { perplexity: Math.exp(sum / count), tokens: count };
  },

  bench() {
    const { promptTokens = 512, generateTokens = 128, depth = 0 } = options;
    const started = process.hrtime.bigint();
    const peer = new Peer(file, { threads, kv: options.kv ?? "F16", context: depth + Math.max(promptTokens, generateTokens) + 1 });
    const loadSeconds = seconds(started);
    const id = (i) => (i * 7919 + 13) % peer.vocabularySize;
    const ids = (count) => Array.from({ length: count }, (_, i) => id(i));
    peer.append(ids(16));
    peer.row();
    peer.clear();
    if (depth > 0) peer.append(ids(depth));

    const prompt = ids(promptTokens);
    let from = process.hrtime.bigint();
    peer.append(prompt);
    peer.row();
    const prefillSeconds = seconds(from);

    peer.truncate(depth);
    from = process.hrtime.bigint();
    for (let i = 0; i < generateTokens; i++) {
      peer.append([id(i)]);
      peer.row();
    }
    const decodeSeconds = seconds(from);
    return {
      prefillTokensPerSecond: promptTokens / prefillSeconds, decodeTokensPerSecond: generateTokens / decodeSeconds,
      loadSeconds, residentBytes: process.memoryUsage.rss(),
    };
  },
};

if (!commands[command]) {
  console.error(`usage: node peer.mjs ${Object.keys(commands).join("|")} MODEL JSON`);
  process.exit(2);
}
console.log(JSON.stringify(commands[command]()));
process.exit(0);
