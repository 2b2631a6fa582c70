// Do e2llm and llama.cpp tokenize alike? Random and multilingual strings, each vocabulary, each pre-tokenizer.
//   node benchmarks/peers/tokenizers.mjs [--count N] [--seed S] [--all-pre] VOCABULARY.gguf...
// --all-pre: every pre-tokenizer name that we support, by rewriting tokenizer.ggml.pre in a temporary copy of each
// byte-level BPE vocabulary given (so that one vocabulary judges patterns whose own vocabulary is not at hand).
// Exit code 1 where any string differs. After `bash benchmarks/peers/run.sh`, or `npm install` here and a Release build of the tool.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Vocabulary } from "./llama.mjs";
import { tool } from "./e2llm.mjs";
import { makeTexts } from "./tokenizers-texts.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

const { values: options, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { count: { type: "string", default: "10000" }, seed: { type: "string", default: "1" }, "all-pre": { type: "boolean", default: false } },
});
if (files.length === 0) {
  console.error("usage: node tokenizers.mjs [--count N] [--seed S] [--all-pre] VOCABULARY.gguf...");
  process.exit(2);
}

/** The pre-tokenizer names in our code: the one list that the readers check against. */
function supportedPreTokenizers() {
  const source = readFileSync(join(root, "src", "E2LLM", "Gguf", "SupportedModels.cs"), "utf8");
  const list = /PreTokenizers \{ get; \} =\s*\[([^\]]*)\]/.exec(source);
  return [...list[1].matchAll(/"([^"]+)"/g)].map((match) => match[1]);
}

/** Where the value of a metadata string lies in a GGUF file: [first byte of its length, length]. Null where the key is missing. */
function findString(bytes, key) {
  const text = Buffer.concat([Buffer.alloc(8), Buffer.from(key), Buffer.from([8, 0, 0, 0])]);
  text.writeBigUInt64LE(BigInt(key.length), 0);
  const at = bytes.indexOf(text);
  return at < 0 ? null : [at + text.length, Number(bytes.readBigUInt64LE(at + text.length))];
}

function readString(bytes, key) {
  const place = findString(bytes, key);
  return place && bytes.toString("utf8", place[0] + 8, place[0] + 8 + place[1]);
}

/** The file with another string value. Tensor data would need its padding redone, so vocabularies only (no tensors). */
function withString(bytes, key, value) {
  if (bytes.readBigUInt64LE(8) !== 0n) throw new Error("only a file without tensors can be rewritten");
  const [start, length] = findString(bytes, key);
  const text = Buffer.concat([Buffer.alloc(8), Buffer.from(value)]);
  text.writeBigUInt64LE(BigInt(Buffer.byteLength(value)), 0);
  return Buffer.concat([bytes.subarray(0, start), text, bytes.subarray(start + 8 + length)]);
}

function ours(file, texts, parseSpecial) {
  const args = [tool, "tokenize", "--model", file, "--jsonl", "--no-bos", ...(parseSpecial ? ["--parse-special"] : [])];
  const input = texts.map((text) => JSON.stringify(text)).join("\n") + "\n";
  const result = spawnSync("dotnet", args, { encoding: "utf8", input, maxBuffer: 1 << 30 });
  if (result.status !== 0) throw new Error(`${args.join(" ")}: exit code ${result.status}: ${result.stderr}`);
  return result.stdout.trim().split("\n");
}

let failures = 0;
function compare(name, file, texts) {
  const vocabulary = new Vocabulary(file);
  for (const parseSpecial of [false, true]) {
    const answers = ours(file, texts, parseSpecial);
    let differences = answers.length === texts.length ? 0 : texts.length;
    for (let i = 0; i < texts.length && answers.length === texts.length; i++) {
      const expected = vocabulary.tokenize(texts[i], { addBos: false, parseSpecial });
      if (JSON.stringify(JSON.parse(answers[i])) !== JSON.stringify(expected)) {
        if (differences++ < 3) console.log(`  ${JSON.stringify(texts[i])}\n    ours  ${answers[i]}\n    peer  ${JSON.stringify(expected)}`);
      }
    }
    console.log(`${name}${parseSpecial ? ", special tokens parsed" : ""}: ${texts.length} strings, ${differences} differences`);
    failures += differences;
  }
  vocabulary.dispose();
}

for (const file of files) {
  const bytes = readFileSync(file), model = readString(bytes, "tokenizer.ggml.model"), pre = readString(bytes, "tokenizer.ggml.pre");
  const texts = makeTexts(Number(options.count), Number(options.seed));
  compare(`${basename(file)} (${model}/${pre})`, file, texts);
  if (options["all-pre"] && model === "gpt2") {
    const folder = mkdtempSync(join(tmpdir(), "e2llm-peers-"));
    try {
      for (const other of supportedPreTokenizers().filter((name) => name !== pre)) {
        const copy = join(folder, "vocabulary.gguf");
        writeFileSync(copy, withString(bytes, "tokenizer.ggml.pre", other));
        compare(`${basename(file)} as ${other}`, copy, texts);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
}
process.exit(failures === 0 ? 0 : 1);
