// What llama.cpp reads from stored blocks: for each type the SHA-256 of 64 blocks' values (little-endian float32), as JSON.
//   node dequantize.mjs > ../../tests/E2LLM.Tests/Golden/dequantize.json
// The blocks are bytes of the generator x -> 1664525 x + 1013904223 (mod 2^32), seed 1, highest byte of each x; bit 6 of the high byte of every
// half-precision factor (and of every bfloat16) is cleared, so that no value is infinite or NaN.
import koffi from "koffi";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const types = {
  Q4_0: { bytes: 18, elements: 32, factors: [0], name: "dequantize_row_q4_0" },
  Q4_1: { bytes: 20, elements: 32, factors: [0, 2], name: "dequantize_row_q4_1" },
  Q5_0: { bytes: 22, elements: 32, factors: [0], name: "dequantize_row_q5_0" },
  Q5_1: { bytes: 24, elements: 32, factors: [0, 2], name: "dequantize_row_q5_1" },
  Q8_0: { bytes: 34, elements: 32, factors: [0], name: "dequantize_row_q8_0" },
  Q4_K: { bytes: 144, elements: 256, factors: [0, 2], name: "dequantize_row_q4_K" },
  Q5_K: { bytes: 176, elements: 256, factors: [0, 2], name: "dequantize_row_q5_K" },
  Q6_K: { bytes: 210, elements: 256, factors: [208], name: "dequantize_row_q6_K" },
  BF16: { bytes: 2, elements: 1, factors: [0], name: "ggml_bf16_to_fp32_row" },
};
const blockCount = 64;
const folder = join(dirname(fileURLToPath(import.meta.url)), "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64");
const base = koffi.load(join(folder, readdirSync(folder).find((name) => name.startsWith("libggml-base.") && name.endsWith(".so"))));

const result = {};
for (const [type, { bytes, elements, factors, name }] of Object.entries(types)) {
  const stored = new Uint8Array(blockCount * bytes);
  let x = 1;
  for (let i = 0; i < stored.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    stored[i] = x >>> 24;
  }
  for (let block = 0; block < blockCount; block++) for (const at of factors) stored[block * bytes + at + 1] &= 0xBF;
  const values = new Float32Array(blockCount * elements);
  base.func(`void ${name}(const uint8_t *, _Out_ float *, int64_t)`)(stored, values, values.length);
  result[type] = createHash("sha256").update(new Uint8Array(values.buffer)).digest("hex");
}
console.log(JSON.stringify(result, null, 2));
