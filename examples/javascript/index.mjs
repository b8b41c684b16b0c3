// Answers of a nextvit bundle for one picture, with onnxruntime-web in Node.
//
//   npm install onnxruntime-web
//   node index.mjs photos-onnx-fp32.nextvit picture.ppm
//
// The picture is a binary PPM (P6, 8 bits) of the model's size. In a browser, fetch() the same two files of the bundle.
import { readFile } from "node:fs/promises";
import { InferenceSession, Tensor } from "onnxruntime-web";

const [bundle, picture] = process.argv.slice(2);
const manifest = JSON.parse(await readFile(`${bundle}/manifest.json`, "utf8"));
if (manifest.format !== 1 || manifest.backend !== "onnx") {
  throw new Error(`${bundle}: not an ONNX bundle of format 1`);
}
const { classes, task, thresholds, input } = manifest.card;
const [height, width] = input.image_size;
const pixels = readPpm(await readFile(picture), width, height);
const session = await InferenceSession.create(await readFile(`${bundle}/${manifest.model_file}`));
const images = new Tensor("uint8", pixels, [1, height, width, 3]);
const logits = (await session.run({ images })).logits.data;

const probabilities = task === "multilabel" ? logits.map((x) => 1 / (1 + Math.exp(-x))) : softmax(logits);
const order = [...classes.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
const answered = task === "multilabel" ? order.filter((i) => probabilities[i] >= thresholds[i]) : order.slice(0, 1);
for (const index of answered) console.log(`${classes[index]}\t${probabilities[index].toFixed(6)}`);

function softmax(values) {
  const largest = values.reduce((a, b) => Math.max(a, b));
  const powers = Array.from(values, (x) => Math.exp(x - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

function readPpm(content, width, height) {
  const header = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(content.toString("latin1", 0, 64));
  if (!header || header[1] != width || header[2] != height) {
    throw new Error(`the picture must be a binary PPM of ${width}x${height} pixels`);
  }
  const size = 3 * width * height;
  if (content.length < header[0].length + size) throw new Error("the picture ends early");
  return new Uint8Array(content.subarray(header[0].length, header[0].length + size));
}
