// llama.cpp for goals.mjs: one model, loaded once, one question a line and one JSON answer a line.
//   node goals-peer.mjs MODEL STATE_PREFIX
// Questions: about | prefill THREADS TOKENS | decode THREADS DEPTH STEPS FLASH. Depth is filled once per shape and kept in STATE_PREFIX-<flash>.state: what keys and
// values hold changes no time, so every type of a shape may use the same.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Peer } from "./llama.mjs";

const [file, statePrefix] = process.argv.slice(2);
const seconds = (since) => Number(process.hrtime.bigint() - since) / 1e9;
const answer = (value) => console.log(JSON.stringify(value));
const started = process.hrtime.bigint();
const context = 2048;
const peer = new Peer(file, { threads: 2, context });
let flash = "auto", filled = 0;
const loadSeconds = seconds(started);
const id = (i) => (i * 7919 + 13) % peer.vocabularySize;
const ids = (count) => Array.from({ length: count }, (_, i) => id(i));

function use(wanted, threads) {
  if (wanted !== flash) {
    peer.open({ threads, context, flash: wanted });
    [flash, filled] = [wanted, 0];
  }
  peer.setThreads(threads);
}

function fill(depth) {
  if (depth === filled) return;
  const state = `${statePrefix}-${flash}-${depth}.state`;
  if (depth === 0) {
    peer.clear();
  } else if (!peer.loadState(state)) {
    peer.clear();
    peer.setThreads(2);
    peer.append(ids(depth));
    peer.row();
    peer.saveState(state);
  }
  filled = depth;
}

const commands = {
  about() {
    const maps = readFileSync("/proc/self/maps", "utf8"), library = /libggml-cpu-[a-z0-9]+/.exec(maps)?.[0] ?? "unknown";
    return { loadSeconds, residentBytes: process.memoryUsage.rss(), library };
  },

  prefill(threads, tokens) {
    use("auto", threads);
    fill(0);
    peer.clear();
    const prompt = ids(tokens), from = process.hrtime.bigint();
    peer.append(prompt);
    peer.row();
    const rate = tokens / seconds(from);
    peer.clear();
    return { tokensPerSecond: rate };
  },

  decode(threads, depth, steps, wanted) {
    use(wanted, threads);
    fill(depth);
    peer.setThreads(threads);
    // The first step is not counted, as on our side.
    let from = 0n;
    for (let i = 0; i <= steps; i++) {
      if (i === 1) from = process.hrtime.bigint();
      peer.append([id(i)]);
      peer.row();
    }
    const rate = steps / seconds(from);
    peer.truncate(depth);
    return { tokensPerSecond: rate };
  },
};

answer(commands.about());
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...words] = line.split(" ");
  answer(commands[name](...words.map((word) => (/^\d+$/.test(word) ? Number(word) : word))));
}
process.exit(0);
