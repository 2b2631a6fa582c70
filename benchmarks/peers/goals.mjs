// The table of goals: this engine against llama.cpp, file by file, in turn, with calibration beside each row. Called by goals.sh; no arguments: usage.
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "./figures.mjs";
import { ourSide, peerSide } from "./side.mjs";

const usage = `usage: goals.sh [options] FILE.gguf...        (names must end in -q8_0, -q4_0, -q4_k_m or -f16 for a goal to be known)
  --seconds N       begin no row after N seconds; exit code 3 when rows are left: call again to go on (default 170)
  --row-seconds N   after the first pair, begin no further pair that would end later than this (default 25)
  --pairs N         pairs of runs, each side in turn, at most (default 3; prefill 2)
  --threads LIST    default 1,2
  --rows LIST       of decode, depth, batch and prefill (default all)
  --steps N         decoded tokens of a run (default 10; at depth 5; in a batch 5)
  --depth N         default 2000
  --state FILE      where finished rows are kept (default goals.json beside this script); a row of the same file is not measured again
  --without-amx     give llama.cpp a copy of its libraries without the one that uses AMX
  --print           only print what the state holds`;
const here = dirname(fileURLToPath(import.meta.url));
let values, files;
try {
  ({ values, positionals: files } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: "string", default: "170" }, "row-seconds": { type: "string", default: "25" }, pairs: { type: "string", default: "3" },
      threads: { type: "string", default: "1,2" }, rows: { type: "string", default: "decode,depth,batch,prefill" }, steps: { type: "string", default: "10" }, depth: { type: "string", default: "2000" },
      state: { type: "string", default: join(here, "goals.json") }, "without-amx": { type: "boolean", default: false }, print: { type: "boolean", default: false },
    },
  }));
  if (files.length === 0 && !values.print) throw new Error("no file given");
} catch (error) {
  console.error(`${error.message}\n${usage}`);
  process.exit(2);
}

const began = Date.now(), elapsed = () => (Date.now() - began) / 1000;
const steps = Number(values.steps), depth = Number(values.depth), few = Math.max(1, Math.round(steps / 2));
const results = existsSync(values.state) ? JSON.parse(readFileSync(values.state, "utf8")) : {};
const stateFolder = join(tmpdir(), "e2llm-goals");
mkdirSync(stateFolder, { recursive: true });
const goals = {
  decode: { q8_0: 1.1, q4_0: 1.3, q4_k_m: 1.7, f16: 1.1 }, depth: { q8_0: 2, q4_0: 2, q4_k_m: 2, f16: 1.5 },
  prefill: { q8_0: 2, q4_0: 2, q4_k_m: 2, f16: 1.2 }, prefillAmx: { q8_0: 1, q4_0: 1, q4_k_m: 1, f16: 1 }, batch: { q8_0: 4, q4_0: 4, q4_k_m: 4, f16: 4 },
};

const rows = [
  { kind: "decode", pairs: 1, sides: (t) => [`decode ${t} 0 ${steps} 1`, `decode ${t} 0 ${steps} auto`] },
  { kind: "depth", pairs: 1, sides: (t) => [`decode ${t} ${depth} ${few} 1`, `decode ${t} ${depth} ${few} on`, `decode ${t} ${depth} ${few} off`] },
  { kind: "batch", pairs: 1, sides: (t) => [`decode ${t} 0 ${few} 8`, null] },
  { kind: "prefill", pairs: 2 / 3, sides: (t) => [`prefill ${t} 512`, `prefill ${t} 512`] },
].filter((row) => values.rows.split(",").includes(row.kind));
const keyOf = (file, kind, threads) => `${basename(file, ".gguf")}|${threads}|${kind}${kind === "prefill" && values["without-amx"] ? "|without-amx" : ""}`;
const typeOf = (name) => /(q8_0|q4_0|q4_k_m|f16)$/i.exec(name)?.[1].toLowerCase();

function librariesWithoutAmx() {
  const copy = join(stateFolder, "without-amx"), source = join(here, "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64");
  if (!existsSync(copy)) cpSync(source, copy, { recursive: true, filter: (name) => !name.includes("sapphirerapids") });
  return copy;
}

/** Pairs in turn until enough or until the row's time is used up. */
async function measure(ours, theirs, row, threads) {
  const from = Date.now(), pairs = [], wanted = Math.max(1, Math.round(Number(values.pairs) * row.pairs)), questions = row.sides(threads);
  const calibration = await ours.ask(`calibrate ${threads}`);
  while (pairs.length < wanted) {
    const one = Date.now(), rate = (await ours.ask(questions[0])).tokensPerSecond, peers = [];
    if (row.kind === "batch") {
      peers.push((await ours.ask(`decode ${threads} 0 ${few} 1`)).tokensPerSecond);
    } else {
      for (const question of questions.slice(1)) peers.push((await theirs.ask(question)).tokensPerSecond);
    }
    pairs.push({ ours: rate, peers });
    const now = Date.now();
    if ((now - from + (now - one)) / 1000 > Number(values["row-seconds"])) break;
  }
  return { calibration, pairs };
}

async function runFile(file) {
  const missing = values.threads.split(",").map(Number).flatMap((threads) => rows.map((row) => ({ row, threads, key: keyOf(file, row.kind, threads) })))
    .filter(({ key }) => !results[key]);
  if (missing.length === 0) return true;
  const shape = basename(file, ".gguf").replace(/-[^-]*$/, "");
  const ours = ourSide(file), about = await ours.answer();
  const theirs = peerSide(file, join(stateFolder, shape), values["without-amx"] ? { E2LLM_PEER_LIBRARIES: librariesWithoutAmx() } : {});
  const peerAbout = await theirs.answer();
  try {
    // Once each unmeasured: pages touched, and code compiled: .NET gives a method its last form some thirty calls and a tenth of a second after the first.
    await ours.ask("prefill 2 64");
    await ours.ask("decode 2 0 4 1");
    await ours.ask("decode 1 0 32 1");
    await ours.ask("decode 2 128 16 1");
    await theirs.ask("decode 2 0 2 auto");
    for (const { row, threads, key } of missing) {
      if (elapsed() > Number(values.seconds)) return false;
      results[key] = { about, peer: peerAbout, ...await measure(ours, theirs, row, threads) };
      writeFileSync(values.state, JSON.stringify(results, null, 1));
    }
    return true;
  } finally {
    await ours.end();
    await theirs.end();
  }
}

function printRow(key, { about, peer, calibration, pairs }) {
  const [name, threads, kind] = key.split("|"), type = typeOf(name);
  const best = (pair) => Math.max(...pair.peers), ratios = pairs.map((pair) => pair.ours / best(pair)).sort((a, b) => a - b), ratio = median(ratios);
  const ours = median(pairs.map((pair) => pair.ours)), theirs = median(pairs.map(best));
  const goal = goals[kind === "prefill" && peer.library.includes("sapphirerapids") ? "prefillAmx" : kind][type];
  const { readBytesPerSecond: read, byteOperationsPerSecond: bytes, floatOperationsPerSecond: floats } = calibration;
  // What multiplies this type's weights: small ones by vpmaddubsw of 512 bits where there is one, bytes by VNNI-256, halves as floats.
  const products = type === "f16" ? floats : type === "q8_0" ? bytes : calibration.pairOperationsPerSecond || bytes;
  const share = kind === "prefill" ? ours * about.multiplicationsPerToken / (type === "f16" ? floats : bytes)
    : kind === "batch" ? ours / 8 * about.bytesPerToken / read : ours * (about.bytesPerToken + (kind === "depth" ? depth * about.kvBytesPerToken : 0)) / read;
  // What a program that reads, or multiplies, at the calibrated rate and does nothing else would reach.
  const bound = kind === "decode" || kind === "depth" ? read / (about.bytesPerToken + (kind === "depth" ? depth * about.kvBytesPerToken : 0)) / theirs
    : kind === "prefill" ? products / about.multiplicationsPerToken / theirs : undefined;
  console.log(`| ${name} | ${threads} | ${{ decode: "decode", depth: `decode at ${depth}`, batch: "batch of 8 / 1", prefill: "prefill 512" }[kind]} | ${ours.toFixed(1)} | ${theirs.toFixed(1)} `
    + `| ${ratio.toFixed(2)} (${ratios[0].toFixed(2)}-${ratios.at(-1).toFixed(2)}, ${pairs.length}) | ${goal ?? ""} | ${goal === undefined ? "" : ratio >= goal ? "yes" : bound < goal ? "no, out of reach" : "no"} `
    + `| ${bound?.toFixed(2) ?? ""} `
    + `| ${(100 * share).toFixed(0)} % | ${(read / 1e9).toFixed(1)} | ${(bytes / 1e9).toFixed(0)} | ${(floats / 1e9).toFixed(0)} |`);
}

function print() {
  const entries = Object.entries(results);
  console.log(`llama.cpp library: ${[...new Set(entries.map(([, row]) => row.peer.library))].join(", ")}; tokens/s are medians, the ratio is the median of pairs run in turn (least-most, pairs).`);
  console.log("Share: of the DRAM read rate for decode (weights, and keys and values at depth), of VNNI-256 (F16: FMA-512) for prefill; calibrations of as many threads, right before the row.");
  console.log("Ratio at the ceiling: what decode would reach against this llama.cpp by reading weights, keys and values at the calibrated rate and doing nothing else, and prefill by multiplying weights (Q8_0 by VNNI-256, F16 by FMA-512, the others by vpmaddubsw of 512 bits with its 16-bit addition); a goal above it is out of reach in that run.");
  console.log("\n| file | threads | what | ours, tokens/s | llama.cpp (batch: our 1) | ratio | goal | met | ratio at the ceiling | share | read GB/s | VNNI Gop/s | FMA GFLOP/s |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|");
  for (const [key, row] of entries.sort(([a], [b]) => (a < b ? -1 : 1))) printRow(key, row);
  console.log("\n| file | load, s | resident / file + KV | llama.cpp load, s |\n|---|---|---|---|");
  const seen = new Set();
  for (const [key, { about, peer }] of entries) {
    const name = key.split("|")[0];
    if (seen.has(name)) continue;
    seen.add(name);
    console.log(`| ${name} | ${about.loadSeconds.toFixed(1)} | ${(about.residentBytes / 1e6).toFixed(0)} / ${(about.fileBytes / 1e6).toFixed(0)} MB = ${(about.residentBytes / about.fileBytes).toFixed(2)} (no KV yet) `
      + `| ${peer.loadSeconds.toFixed(1)} |`);
  }
}

let complete = true;
if (!values.print) {
  for (const file of files) {
    if (elapsed() > Number(values.seconds)) complete = false;
    if (complete) complete = await runFile(file);
  }
}
print();
process.exit(complete ? 0 : 3);
