import { posix, win32 } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isSafeName, isSafePath } from "./paths";

const HOSTILE = [
  "",
  ".",
  "..",
  "...",
  "../x",
  "a/..",
  "a/../..",
  "a/./b",
  "/a",
  "//host/share",
  "a//b",
  "a/",
  "\\a",
  "a\\b",
  "..\\x",
  "C:",
  "C:x",
  "C:\\x",
  "file:///x",
  "~",
  "~root",
  "$HOME",
  "%2e%2e",
  "a%2fb",
  "a\0b",
  "a\nb",
  "a b",
  " a",
  "a ",
  "a.", // Windows drops the dot
  "a./b",
  ".hidden",
  "-rf", // an option to many programs
  "a:stream",
  "a*",
  "a?",
  "a|b",
  "\u202etxt",
  "ａ", // a full-width a
  "\u2024\u2024/x",
  "é",
  "con",
  "CON",
  "Nul.txt",
  "com1",
  "lpt9.safetensors",
  "aux.tar.gz",
  "dir/prn",
];

describe("isSafePath", () => {
  test("refuses what may leave the directory on any system, or be something else there", () => {
    for (const path of HOSTILE) expect(isSafePath(path), JSON.stringify(path)).toBe(false);
    expect(isSafePath("a".repeat(201))).toBe(false);
    expect(isSafePath(Array(600).fill("ab").join("/"))).toBe(false);
  });

  test("takes what checkpoints are made of", () => {
    const plain = [
      "model.safetensors",
      "model-00001-of-00002.safetensors",
      "model.safetensors.index.json",
      "rank_0/model.safetensors",
      "training_state.json",
      "a",
      "_a",
      "0",
      "A.b-c_d",
      "a..b",
      "console",
      "com10",
      "a/b/c",
      "a".repeat(200),
    ];
    for (const path of plain) expect(isSafePath(path), path).toBe(true);
  });

  test("whatever it takes stays inside, by the rules of POSIX and of Windows", () => {
    const parts = fc.constantFrom("..", ".", "a", "b.c", "/", "\\", "C:", "~", "%2e", "\0", " ", "con", "");
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(parts).map((list) => list.join("")),
          fc.string(),
        ),
        (path) => {
          if (!isSafePath(path)) return;
          expect(posix.resolve("/root", path)).toBe(`/root/${path}`);
          expect(posix.normalize(path)).toBe(path);
          expect(win32.resolve("C:\\root", path)).toBe(`C:\\root\\${path.replaceAll("/", "\\")}`);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

test("isSafeName takes one segment", () => {
  expect(isSafeName("model")).toBe(true);
  expect(isSafeName("a/b")).toBe(false);
  for (const name of HOSTILE) expect(isSafeName(name), JSON.stringify(name)).toBe(false);
});
