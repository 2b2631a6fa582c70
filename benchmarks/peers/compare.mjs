// Compares e2llm with llama.cpp on GGUF files: logits, then perplexity (--text FILE), then speed in turn (unless --no-speed).
// Exit code 1 when a figure is outside its limit, 2 on wrong usage.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ask, e2llm, readFloats } from "./e2llm.mjs";
import { compareLogits, median } from "./figures.mjs";

const usage = `usage: run.sh [options] FILE.gguf...
  --positions N   tokens of the compared sequence (default 32, fewer for a short context)
  --kv F32|F16    element type of both KV caches when logits are compared (default F32)
  --threads N     threads on both sides (default 2)
  --text FILE     also compare perplexity on this text (limit 0.5 %)
  --no-speed      no speed figures
  --rounds N      speed rounds, each side in turn (default 5; medians are printed)
  --prompt-tokens N, --generate-tokens N, --depth N   the speed test (default 512, 128, 0; halved to fit the context)`;
const sample = "Once upon a time there was a little girl who lived near the sea. Every morning, before anybody else was awake, she walked "
  + "down to the water and counted 12 boats, 34 gulls and one old lighthouse; \"good morning\", she said, and the sea answered.";

let values, files;
try {
  ({ values, positionals: files } = parseArgs({
    allowPositionals: true,
    options: {
      positions: { type: "string", default: "32" }, kv: { type: "string", default: "F32" }, threads: { type: "string", default: "2" },
      text: { type: "string" }, "no-speed": { type: "boolean", default: false }, rounds: { type: "string", default: "5" },
      "prompt-tokens": { type: "string", default: "512" }, "generate-tokens": { type: "string", default: "128" },
      depth: { type: "string", default: "0" },
    },
  }));
  if (files.length === 0) throw new Error("no file given");
} catch (error) {
  console.error(`${error.message}\n${usage}`);
  process.exit(2);
}

const peerScript = join(dirname(fileURLToPath(import.meta.url)), "peer.mjs");
const peer = (command, file, options) => ask(process.execPath, [peerScript, command, file, JSON.stringify(options)]);
const threads = Number(values.threads);
const folder = mkdtempSync(join(tmpdir(), "e2llm-peers-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
let failures = 0;

const verdict = (good) => {
  failures += good ? 0 : 1;
  return good ? "ok" : "FAILED";
};

function compareTokens(file) {
  const ours = e2llm("tokenize", "--model", file, "--text", sample), theirs = peer("tokenize", file, { text: sample });
  const same = ours.length === theirs.length && ours.every((id, i) => id === theirs[i]);
  console.log(`  tokens      ${theirs.length} ids of a sentence: ${same ? "the same" : "different"}   ${verdict(same)}`);
  return theirs;
}

function compareLogitsOf(file, about, ids) {
  const ourFile = join(folder, "ours.f32"), peerFile = join(folder, "peer.f32");
  e2llm("logits", "--model", file, "--ids", ids.join(","), "--all", "--top", 1, "--kv", values.kv, "--threads", threads, "--raw", ourFile);
  peer("logits", file, { ids, kv: values.kv, threads, raw: peerFile });
  const figures = compareLogits(readFloats(ourFile), readFloats(peerFile), about.vocabularySize);
  const limit = Object.keys(about.tensorTypes).every((type) => type === "F32") ? 1e-6 : 5e-4;
  console.log(`  logits      ${figures.positions} positions, NMSE ${figures.nmse.toExponential(2)} (worst position `
    + `${figures.worstNmse.toExponential(2)}, limit ${limit})   ${verdict(figures.nmse < limit)}`);
  console.log(`  argmax      ${figures.agreeClear} of ${figures.clear} where the margin exceeds 4 x RMS ${figures.rms.toExponential(2)}; `
    + `${figures.agreeAll} of ${figures.positions} in all   ${verdict(figures.agreeClear === figures.clear)}`);
}

function comparePerplexity(file) {
  const ours = e2llm("perplexity", "--model", file, "--file", values.text, "--threads", threads, "--kv", values.kv);
  const theirs = peer("perplexity", file, { text: values.text, threads, kv: values.kv });
  const difference = ours.perplexity / theirs.perplexity - 1;
  console.log(`  perplexity  ${ours.perplexity.toFixed(4)} on ${ours.tokens} tokens, llama.cpp ${theirs.perplexity.toFixed(4)} on ${theirs.tokens}: `
    + `${(100 * difference).toFixed(3)} %   ${verdict(Math.abs(difference) <= 0.005 && ours.tokens === theirs.tokens)}`);
}

function compareSpeed(file, about) {
  let [promptTokens, generateTokens, depth] = ["prompt-tokens", "generate-tokens", "depth"].map((name) => Number(values[name]));
  while (depth + promptTokens > about.contextLength) promptTokens >>= 1;
  while (depth + generateTokens > about.contextLength) generateTokens >>= 1;
  const rounds = [];
  for (let i = 0; i < Number(values.rounds); i++) {
    rounds.push({
      ours: e2llm("bench", "--model", file, "--prompt-tokens", promptTokens, "--generate-tokens", generateTokens, "--depth", depth,
        "--threads", threads, "--repeat", 1),
      peer: peer("bench", file, { promptTokens, generateTokens, depth, threads }),
    });
  }
  for (const [name, key, tokens] of [["prefill", "prefillTokensPerSecond", promptTokens], ["decode", "decodeTokensPerSecond", generateTokens]]) {
    const ours = median(rounds.map((round) => round.ours[key])), theirs = median(rounds.map((round) => round.peer[key]));
    const ratio = median(rounds.map((round) => round.ours[key] / round.peer[key]));
    console.log(`  ${name.padEnd(10)}  ${ours.toFixed(1)} tokens/s, llama.cpp ${theirs.toFixed(1)}: ratio ${ratio.toFixed(3)} `
      + `(${tokens} tokens${depth ? ` after ${depth}` : ""}, ${threads} threads, median of ${rounds.length} in turn)`);
  }
}

for (const file of files) {
  console.log(basename(file));
  try {
    const about = e2llm("inspect", "--model", file);
    console.log(`  file        ${about.architecture}, ${about.layerCount} layers of ${about.hiddenSize}, vocabulary ${about.vocabularySize}, `
      + `${Object.entries(about.tensorTypes).map(([type, count]) => `${count} ${type}`).join(", ")}`);
    const positions = Math.min(Number(values.positions), about.contextLength);
    const ids = compareTokens(file).slice(0, positions);
    compareLogitsOf(file, about, ids);
    if (values.text) comparePerplexity(file);
    if (!values["no-speed"]) compareSpeed(file, about);
  } catch (error) {
    console.log(`  ${error.message}   ${verdict(false)}`);
  }
}
console.log(failures === 0 ? "everything within its limit" : `${failures} figures outside their limits`);
process.exit(failures === 0 ? 0 : 1);
