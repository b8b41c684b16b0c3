// Answers of a nextvit bundle for one picture, with onnxruntime-web in Node.
//
//   npm install onnxruntime-web
//   node index.mjs photos-onnx-fp32.nextvit picture.ppm
//
// The picture is a binary PPM (P6, 8 bits) of the model's size. In a browser, fetch() the same two files of the bundle.
import { readFile } from "node:fs/promises";
import { InferenceSession, Tensor } from "onnxruntime-web";

const [bundle, picture, more] = process.argv.slice(2);
if (!picture || more) refuse("usage: node index.mjs BUNDLE PICTURE.ppm");
const read = (path, missing) => readFile(path).catch(() => refuse(missing));
const manifest = JSON.parse(await read(`${bundle}/manifest.json`, `${bundle}: not a bundle, it has no manifest.json`));
if (manifest.format > 2 || manifest.backend !== "onnx") refuse(`${bundle}: not an ONNX bundle of format 1 or 2`);
const { classes, task, thresholds, input } = manifest.card;
const [height, width] = input.image_size;
const pixels = readPpm(await read(picture, `${picture}: cannot be read`), width, height);
const session = await InferenceSession.create(await read(`${bundle}/${manifest.model_file}`, `${bundle}: has no model`));
const images = new Tensor("uint8", pixels, [1, height, width, 3]);
const logits = (await session.run({ images })).logits.data;

const probabilities = task === "multilabel" ? logits.map((x) => 1 / (1 + Math.exp(-x))) : softmax(logits);
const order = [...classes.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
const answered = task === "multilabel" ? order.filter((i) => probabilities[i] >= thresholds[i]) : order.slice(0, 1);
for (const index of answered) console.log(`${classes[index]}\t${probabilities[index].toFixed(6)}`);

function refuse(message) {
  console.error(message);
  process.exit(2);
}

function softmax(values) {
  const largest = values.reduce((a, b) => Math.max(a, b));
  const powers = Array.from(values, (x) => Math.exp(x - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

function readPpm(content, width, height) {
  const header = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(content.toString("latin1", 0, 64));
  if (!header || header[1] != width || header[2] != height) {
    refuse(`${picture}: must be a binary PPM of ${width}x${height}`);
  }
  const size = 3 * width * height;
  if (content.length < header[0].length + size) refuse(`${picture}: ends early`);
  return new Uint8Array(content.subarray(header[0].length, header[0].length + size));
}
