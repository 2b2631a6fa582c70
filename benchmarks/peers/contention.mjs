// How much of its quiet decode speed each side keeps while foreign processes keep every core busy, in one run:
//   node benchmarks/peers/contention.mjs FILE.gguf [--threads 2] [--busy CORES] [--steps 12] [--rounds 3]
// (after goals.sh has installed and built). Goal: at least a third. Exit code 1 when it is missed.
import { spawn } from "node:child_process";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median } from "./figures.mjs";
import { ourSide, peerSide } from "./side.mjs";

const { values, positionals: [file] } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "2" }, busy: { type: "string", default: `${availableParallelism()}` },
    steps: { type: "string", default: "12" }, rounds: { type: "string", default: "3" },
  },
});
if (!file) {
  console.error("usage: contention.mjs FILE.gguf [--threads N] [--busy PROCESSES] [--steps N] [--rounds N]");
  process.exit(2);
}

const sides = { ours: ourSide(file), "llama.cpp": peerSide(file, join(tmpdir(), "e2llm-contention")) };
const question = { ours: `decode ${values.threads} 0 ${values.steps} 1`, "llama.cpp": `decode ${values.threads} 0 ${values.steps} auto` };
const quiet = { ours: [], "llama.cpp": [] }, busy = { ours: [], "llama.cpp": [] };
for (const side of Object.values(sides)) await side.answer();
for (const [name, side] of Object.entries(sides)) await side.ask(question[name]);
const rate = async (name) => (await sides[name].ask(question[name])).tokensPerSecond;
for (let round = 0; round < Number(values.rounds); round++) {
  for (const name of Object.keys(sides)) quiet[name].push(await rate(name));
  const others = Array.from({ length: Number(values.busy) }, () => spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" }));
  await new Promise((resolve) => { setTimeout(resolve, 300); });
  for (const name of Object.keys(sides)) busy[name].push(await rate(name));
  for (const other of others) other.kill("SIGKILL");
  await new Promise((resolve) => { setTimeout(resolve, 300); });
}

let kept = 0;
for (const name of Object.keys(sides)) {
  const share = median(busy[name]) / median(quiet[name]);
  kept = name === "ours" ? share : kept;
  console.log(`${name.padEnd(10)} quiet ${median(quiet[name]).toFixed(1)} tokens/s (${quiet[name].map((x) => x.toFixed(1)).join(", ")}), `
    + `with ${values.busy} busy processes ${median(busy[name]).toFixed(1)} (${busy[name].map((x) => x.toFixed(1)).join(", ")}): keeps ${(100 * share).toFixed(0)} %`);
}

for (const side of Object.values(sides)) await side.end();
process.exit(kept >= 1 / 3 ? 0 : 1);
