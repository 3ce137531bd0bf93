// Captions an image with the files of `captioning export`. Nothing leaves the browser.
import * as ort from "./ort/ort.wasm.min.mjs";
import { preprocess } from "./pixels.js";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more threads need headers that a plain file server does not send

/** Load the exported model in a folder. */
export async function load(folder) {
  const get = async (name) => {
    const answer = await fetch(`${folder}/${name}`);
    if (!answer.ok) throw new Error(`${folder}/${name}: ${answer.status} ${answer.statusText}`);
    return answer;
  };
  const config = await (await get("config.json")).json();
  if (config.format_version !== 1) throw new Error(`this page reads format 1, not ${config.format_version}`);
  if (!config.word_level) throw new Error("this page reads models of whole words (text=words)");
  const program = async (name) => ort.InferenceSession.create(await (await get(name)).arrayBuffer());
  const [encoder, start] = [await program("encoder.onnx"), await program("start.onnx")];
  return { config, encoder, start, step: await program("step.onnx") };
}

/** Caption an ImageData: return the text and its log-probability. */
export async function caption(model, image) {
  const { transform, special, vocabulary } = model.config;
  const pixels = new ort.Tensor("float32", preprocess(image, transform), [1, 3, ...transform.size]);
  const state = await model.start.run(await model.encoder.run({ pixels }));
  const best = await beamSearch(model, state);
  const words = best.tokens.filter((token) => token !== special.eos).map((token) => vocabulary[token]);
  const text = words.join(" ").replace(/ (?=(?:n't|'(?:s|re|ve|ll|d|m))(?![^\W_]))/g, "");
  return { text, score: best.score };
}

/** The project's beam search for one image: K prefixes, of which each step finds the 2K best continuations. */
async function beamSearch(model, state) {
  const { special, vocabulary, search } = model.config;
  const never = [special.pad, special.bos, ...(search.allow_unknown ? [] : [special.unk])];
  const rank = (score, length) => score / length ** search.length_normalization;
  let beams = [{ tokens: [], score: 0 }], best = null;
  for (let length = 1; length <= search.max_length; length++) {
    const last = beams.map((beam) => BigInt(beam.tokens.at(-1) ?? special.bos));
    const tokens = new ort.Tensor("int64", BigInt64Array.from(last), [last.length]);
    const next = await model.step.run({ tokens, ...state });
    let found = beams.flatMap((beam, row) => {
      const logits = next.logits.data.subarray(row * vocabulary.length, (row + 1) * vocabulary.length);
      const logProbs = logSoftmax(logits);
      return Array.from(logProbs, (logProb, token) => ({ row, token, score: beam.score + logProb }));
    });
    found = found.filter(({ token }) => !never.includes(token));
    found = found.sort((a, b) => b.score - a.score).slice(0, 2 * search.beam_size);
    const extend = ({ row, token, score }) => ({ tokens: [...beams[row].tokens, token], score });
    for (const ended of found.slice(0, search.beam_size).filter(({ token }) => token === special.eos)) {
      if (!best || rank(ended.score, length) > best.rank) best = { ...extend(ended), rank: rank(ended.score, length) };
    }
    const alive = found.filter(({ token }) => token !== special.eos).slice(0, search.beam_size);
    if (!alive.length) break;
    beams = alive.map(extend);
    if (best && best.rank >= rank(beams[0].score, search.max_length)) break; // log-probabilities only fall
    const rows = alive.map(({ row }) => row);
    for (const { name, shape } of model.config.state) {
      if (shape[0] === "rows") state[name] = gather(next[name.replace("state.", "next.")], rows);
    }
  }
  return best ?? beams[0];
}

function logSoftmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const sum = Math.log(logits.reduce((total, x) => total + Math.exp(x - largest), 0));
  return Float64Array.from(logits, (x) => x - largest - sum);
}

/** Pick rows of a tensor. */
function gather({ data, dims, type }, rows) {
  const size = data.length / dims[0];
  const picked = new data.constructor(rows.length * size);
  rows.forEach((row, i) => picked.set(data.subarray(row * size, (row + 1) * size), i * size));
  return new ort.Tensor(type, picked, [rows.length, ...dims.slice(1)]);
}
