// Strings that find differences between tokenizers: seeded, so that a failure can be run again.

const scripts = [
  [0x20, 0x7e], [0x20, 0x7e], [0x61, 0x7a], [0x30, 0x39], [0xa0, 0x17f], [0x370, 0x3ff], [0x400, 0x4ff], [0x590, 0x5ff], [0x600, 0x6ff],
  [0x900, 0x97f], [0xe00, 0xe7f], [0x1000, 0x109f], [0x10a0, 0x10ff], [0x1100, 0x11ff], [0x1780, 0x17ff], [0x1e00, 0x1fff], [0x2000, 0x206f],
  [0x2070, 0x2bff], [0x3000, 0x30ff], [0x4e00, 0x9fff], [0xac00, 0xd7a3], [0xf900, 0xffef], [0x10000, 0x1ffff], [0x1f300, 0x1faff],
  [0x20000, 0x2a6df], [0xe0000, 0xe01ef], [0x0, 0x10ffff],
];
const pieces = [
  " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\r", "\u00a0", "\u2003", "\u3000", "\u0085", "\u2028", "\v", "\f", "\u001c", "\u200b", "\ufeff",
  "'s", "'S", "'t", "'re", "'RE", "'ve", "'Ll", "'ll", "'m", "'D", "'", "''", "\u2019s", "'\u017f", "1", "12", "123", "1234", "1234567", "\u0663",
  "\u00bd", "\u2167", "\u4e09", "3.14", "1,000", "the", " the", " The", "Hello", "na\u00efve", "e\u0301", "\u0301", "\u0939\u093f", "\u0e01\u0e33",
  "!", "?!", "...", "--", "==", "(", ")", "{\n", "}\n", "/*", "#", "@", "_", "<", ">", "<|", "|>", "<s>", "</s>", "<unk>", "<0x41>", "<|eot_id|>",
  "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "\u2581", "\u2581\u2581", "\ufffd", "\u{1f600}", "\u{1f468}\u200d\u{1f469}",
  "\u{1f1eb}\u{1f1f7}", "\u{10d40}", "\u{16d41}", "\u1c8a", "\ua7da", "\u{1ccf3}", "\u0130", "\u212a", "\u{e000}", "\u{fffff}", "I've been",
  // Tokens of the Llama 3 vocabulary that merging alone does not reach: they tell whether whole words are looked up first.
  " vi\u1ec7c", " \u0111i\u1ec1u", " jeho", "ektedir", "\u0131ld\u0131", " ngo\u00e0i",
  "camelCase", "HTTPServer", "\u00c9cole\u00c0B", "aB/c", "//\n/", "}/\r\n", "x\u00c9Y", "we'll", " don't", "x=1", "for(i=0;", "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439", "\u4f60\u597d", "\u3053\u3093\u306b\u3061\u306f",
  "\uc548\ub155", "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
];

/** A small generator of 32-bit numbers (xorshift), so that strings do not depend on the engine. */
function generator(seed) {
  let state = (seed * 2654435761 + 1) >>> 0 || 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % limit;
  };
}

function codePoint(next) {
  const [first, last] = scripts[next(scripts.length)];
  const point = first + next(last - first + 1);
  // No lone surrogate: they cannot be written in UTF-8, so the peer cannot be asked. No zero: its strings end there.
  return (point >= 0xd800 && point < 0xe000) || point === 0 ? 0xfffd : point;
}

function randomText(next) {
  let text = "";
  const kind = next(4), length = 1 + next(next(8) === 0 ? 200 : 24);
  const [first, last] = scripts[next(scripts.length)];
  for (let i = 0; i < length; i++) {
    const choice = kind === 3 ? next(3) : kind;
    if (choice === 0) text += pieces[next(pieces.length)];
    else if (choice === 1) text += String.fromCodePoint(codePoint(next));
    else {
      const point = next(6) === 0 ? 0x20 : first + next(Math.min(last - first + 1, 400));
      text += point >= 0xd800 && point < 0xe000 ? " " : String.fromCodePoint(point || 1);
    }
  }
  return text;
}

/** `count` strings: every assigned kind of piece by itself, then random ones. */
export function makeTexts(count, seed) {
  const next = generator(seed), texts = ["", ...pieces];
  while (texts.length < count) texts.push(randomText(next));
  return texts.slice(0, Math.max(count, 1));
}
