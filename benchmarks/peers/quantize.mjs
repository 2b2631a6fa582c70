// Makes a GGUF file of another type with llama.cpp's own quantizer, so that types for which no file is at hand can be judged too.
//   node quantize.mjs IN.gguf TYPE OUT.gguf        TYPE as below; IN should be F32 or F16
import koffi from "koffi";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

// llama.h, enum llama_ftype.
const FileType = { F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 7, Q5_0: 8, Q5_1: 9, Q4_K_S: 14, Q4_K_M: 15, Q5_K_S: 16, Q5_K_M: 17, Q6_K: 18, BF16: 32 };

const [input, type, output] = process.argv.slice(2);
if (!output || !(type in FileType)) {
  console.error(`usage: node quantize.mjs IN.gguf TYPE OUT.gguf   TYPE: ${Object.keys(FileType).join(", ")}`);
  process.exit(2);
}

const folder = join(dirname(fileURLToPath(import.meta.url)), "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64");
const find = (stem) => join(folder, readdirSync(folder).find((name) => name.startsWith(stem) && name.endsWith(".so")));
const ggml = koffi.load(find("libggml.")), llama = koffi.load(find("libllama."));
// Only the first two fields are ours to set; the rest stays as the defaults fill it, whatever the release puts there.
koffi.struct("llama_model_quantize_params", { nthread: "int32_t", ftype: "int32_t", rest: koffi.array("uint8_t", 256) });
ggml.func("void ggml_backend_load_all_from_path(const char *)")(folder);
const defaults = llama.func("llama_model_quantize_params llama_model_quantize_default_params()");
const quantize = llama.func("uint32_t llama_model_quantize(const char *, const char *, const llama_model_quantize_params *)");
const code = quantize(input, output, { ...defaults(), nthread: 1, ftype: FileType[type] });
process.exit(code === 0 ? 0 : 1);
