// llama.cpp's shared library from its npm package, called through its C API (llama.h of the same release, v0.5.0).
// Only what a judge needs: load, tokenize, logits of every position, timed decoding.
import koffi from "koffi";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const FlashAttention = { auto: -1, off: 0, on: 1 };
const KvType = { F32: 0, F16: 1 };

koffi.struct("llama_model_params", {
  devices: "void *", tensor_buft_overrides: "void *",
  n_gpu_layers: "int32_t", split_mode: "int32_t", load_mode: "int32_t", lazy_mode: "int32_t", main_gpu: "int32_t",
  tensor_split: "void *", progress_callback: "void *", progress_callback_user_data: "void *", kv_overrides: "void *",
  vocab_only: "bool", check_tensors: "bool", use_extra_bufts: "bool", no_host: "bool", no_alloc: "bool", load_mtp: "bool",
});
koffi.struct("llama_context_params", {
  n_ctx: "uint32_t", n_batch: "uint32_t", n_ubatch: "uint32_t", n_seq_max: "uint32_t", n_rs_seq: "uint32_t",
  n_outputs_max: "uint32_t", n_outputs_max_per_seq: "uint32_t", n_threads: "int32_t", n_threads_batch: "int32_t",
  ctx_type: "int32_t", rope_scaling_type: "int32_t", pooling_type: "int32_t", attention_type: "int32_t", flash_attn_type: "int32_t",
  rope_freq_base: "float", rope_freq_scale: "float", yarn_ext_factor: "float", yarn_attn_factor: "float",
  yarn_beta_fast: "float", yarn_beta_slow: "float", yarn_orig_ctx: "uint32_t", defrag_thold: "float",
  cb_eval: "void *", cb_eval_user_data: "void *", type_k: "int32_t", type_v: "int32_t",
  abort_callback: "void *", abort_callback_data: "void *",
  embeddings: "bool", offload_kqv: "bool", no_perf: "bool", op_offload: "bool", swa_full: "bool", kv_unified: "bool",
  samplers: "void *", n_samplers: "size_t", ctx_other: "void *",
});
koffi.struct("llama_batch", {
  n_tokens: "int32_t", token: "int32_t *", embd: "void *", pos: "void *", n_seq_id: "void *", seq_id: "void *", logits: "int8_t *",
});

koffi.proto("void llama_log_callback(int32_t level, const char *text, void *data)");

// Another folder of the same libraries may be named, for example a copy without the one that uses AMX.
export const folder = process.env.E2LLM_PEER_LIBRARIES
  ?? join(dirname(fileURLToPath(import.meta.url)), "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64");
const find = (stem) => join(folder, readdirSync(folder).find((name) => name.startsWith(stem) && name.endsWith(".so")));
const ggml = koffi.load(find("libggml."));
const llama = koffi.load(find("libllama."));
const api = {
  loadBackends: ggml.func("void ggml_backend_load_all_from_path(const char *)"),
  init: llama.func("void llama_backend_init()"),
  modelDefaults: llama.func("llama_model_params llama_model_default_params()"),
  loadModel: llama.func("void *llama_model_load_from_file(const char *, llama_model_params)"),
  contextDefaults: llama.func("llama_context_params llama_context_default_params()"),
  newContext: llama.func("void *llama_init_from_model(void *, llama_context_params)"),
  vocab: llama.func("void *llama_model_get_vocab(void *)"),
  vocabSize: llama.func("int32_t llama_vocab_n_tokens(void *)"),
  bos: llama.func("int32_t llama_vocab_bos(void *)"),
  addsBos: llama.func("bool llama_vocab_get_add_bos(void *)"),
  trainedContext: llama.func("int32_t llama_model_n_ctx_train(void *)"),
  tokenize: llama.func("int32_t llama_tokenize(void *, const char *, int32_t, _Out_ int32_t *, int32_t, bool, bool)"),
  tokenizeBytes: llama.func("int32_t llama_tokenize(void *, const uint8_t *, int32_t, _Out_ int32_t *, int32_t, bool, bool)"),
  freeModel: llama.func("void llama_model_free(void *)"),
  setLog: llama.func("void llama_log_set(llama_log_callback *, void *)"),
  memory: llama.func("void *llama_get_memory(void *)"),
  clear: llama.func("void llama_memory_clear(void *, bool)"),
  truncate: llama.func("bool llama_memory_seq_rm(void *, int32_t, int32_t, int32_t)"),
  decode: llama.func("int32_t llama_decode(void *, llama_batch)"),
  logits: llama.func("void *llama_get_logits_ith(void *, int32_t)"),
  setThreads: llama.func("void llama_set_n_threads(void *, int32_t, int32_t)"),
  saveState: llama.func("size_t llama_state_seq_save_file(void *, const char *, int32_t, int32_t *, size_t)"),
  loadState: llama.func("size_t llama_state_seq_load_file(void *, const char *, int32_t, _Out_ int32_t *, size_t, _Out_ size_t *)"),
  freeContext: llama.func("void llama_free(void *)"),
};

/** One model and one context of one sequence. `exact` asks for what a comparison needs: no flash attention; `flash` ("auto", "on", "off") chooses it by name. */
export class Peer {
  constructor(file, options = {}) {
    api.loadBackends(folder);
    api.init();
    this.model = api.loadModel(file, { ...api.modelDefaults(), n_gpu_layers: 0 });
    if (!this.model) throw new Error(`llama.cpp cannot load ${file}`);
    this.vocab = api.vocab(this.model);
    this.vocabularySize = api.vocabSize(this.vocab);
    this.trainedContext = api.trainedContext(this.model);
    this.open(options);
  }

  /** Replaces the context, and with it the sequence. */
  open({ threads = 2, kv = "F16", context = 0, batch = 512, exact = false, flash = exact ? "off" : "auto" } = {}) {
    if (this.context) api.freeContext(this.context);
    this.batchTokens = batch;
    this.context = api.newContext(this.model, {
      ...api.contextDefaults(), n_ctx: context || this.trainedContext, n_batch: batch, n_ubatch: batch, n_seq_max: 1,
      n_threads: threads, n_threads_batch: threads, type_k: KvType[kv], type_v: KvType[kv],
      flash_attn_type: FlashAttention[flash], no_perf: true,
    });
    if (!this.context) throw new Error("llama.cpp makes no context for this model");
  }

  get bosId() {
    return api.addsBos(this.vocab) ? api.bos(this.vocab) : -1;
  }

  tokenize(text, { addBos = true, parseSpecial = false } = {}) {
    const bytes = Buffer.byteLength(text), ids = new Int32Array(bytes + 8);
    const count = api.tokenize(this.vocab, text, bytes, ids, ids.length, addBos, parseSpecial);
    if (count < 0) throw new Error(`llama.cpp wants ${-count} tokens for ${bytes} bytes`);
    return Array.from(ids.subarray(0, count));
  }

  setThreads(threads) {
    api.setThreads(this.context, threads, threads);
  }

  /** Writes the sequence's keys and values to a file; another context of the same shape may load them. */
  saveState(file) {
    if (api.saveState(this.context, file, 0, [0], 0) === 0) throw new Error(`llama.cpp cannot write ${file}`);
  }

  /** Whether the file was there and fitted. */
  loadState(file) {
    this.clear();
    return existsSync(file) && Number(api.loadState(this.context, file, 0, new Int32Array(8), 8, [0])) > 0;
  }

  clear() {
    api.clear(api.memory(this.context), true);
  }

  /** Forgets what lies at or after a position. */
  truncate(length) {
    if (!api.truncate(api.memory(this.context), 0, length, -1)) throw new Error("llama.cpp cannot truncate its cache");
  }

  /** Appends ids to the sequence; logits of every position go to `each(index, Float32Array)`, of none without it. */
  append(ids, each = null) {
    for (let start = 0; start < ids.length; start += this.batchTokens) {
      const part = Int32Array.from(ids.slice(start, start + this.batchTokens));
      // A pass without any output skips the head, which no generation may: the last position always has one.
      const outputs = new Int8Array(part.length).fill(each ? 1 : 0);
      outputs[part.length - 1] = 1;
      const batch = { n_tokens: part.length, token: part, embd: null, pos: null, n_seq_id: null, seq_id: null, logits: outputs };
      const rc = api.decode(this.context, batch);
      if (rc !== 0) throw new Error(`llama_decode returned ${rc}`);
      for (let i = 0; each && i < part.length; i++) each(start + i, this.row(i));
    }
  }

  /** The logits of output `index` of the last pass; -1 is the last. The call also waits for the pass to end. */
  row(index = -1) {
    return koffi.decode(api.logits(this.context, index), koffi.array("float", this.vocabularySize, "Typed"));
  }
}

let silent = null;

/** A vocabulary alone: the file needs no tensors. What llama.cpp logs while it loads one is dropped. */
export class Vocabulary {
  constructor(file) {
    api.setLog((silent ??= koffi.register(() => {}, koffi.pointer("llama_log_callback"))), null);
    api.loadBackends(folder);
    api.init();
    this.model = api.loadModel(file, { ...api.modelDefaults(), n_gpu_layers: 0, vocab_only: true });
    if (!this.model) throw new Error(`llama.cpp cannot load ${file}`);
    this.vocab = api.vocab(this.model);
  }

  /** Any text, zero characters too. */
  tokenize(text, { addBos = true, parseSpecial = false } = {}) {
    const bytes = Buffer.from(text), ids = new Int32Array(bytes.length + 8);
    const count = api.tokenizeBytes(this.vocab, bytes, bytes.length, ids, ids.length, addBos, parseSpecial);
    if (count < 0) throw new Error(`llama.cpp wants ${-count} tokens for ${bytes.length} bytes`);
    return Array.from(ids.subarray(0, count));
  }

  dispose() {
    api.freeModel(this.model);
  }
}
