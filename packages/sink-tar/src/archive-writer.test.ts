import { describe, expect, test } from "vitest";
import { ArchiveLayout } from "./archive-writer";
import { walk } from "./testing/archives";

describe("an archive's layout", () => {
  test("says which bytes go where, one part behind the other", async () => {
    const layout = new ArchiveLayout();
    const first = await layout.begin("a.safetensors", 1000);
    const second = await layout.begin("b.safetensors", 0);
    const third = await layout.begin("c.safetensors", 512);
    const end = layout.end();
    expect(first.at).toBe(0);
    expect(second.at).toBe(first.bytes.byteLength + 1000);
    expect(third.at).toBe(second.at + second.bytes.byteLength);
    expect(end.at).toBe(third.at + third.bytes.byteLength + 512);
    for (const { at, bytes } of [first, second, third]) expect((at + bytes.byteLength) % 4096).toBe(0);

    const archive = Buffer.alloc(end.at + end.bytes.byteLength, 0xaa);
    for (const { at, bytes } of [first, second, third, end]) archive.set(bytes, at);
    expect([...(await walk(archive)).files.values()]).toEqual([
      { path: "a.safetensors", start: first.bytes.byteLength, byteLength: 1000 },
      { path: "b.safetensors", start: second.at + second.bytes.byteLength, byteLength: 0 },
      { path: "c.safetensors", start: third.at + third.bytes.byteLength, byteLength: 512 },
    ]);
  });

  test("has each path once, and none that is unsafe", async () => {
    const layout = new ArchiveLayout();
    await layout.begin("a", 1);
    const end = layout.end();
    await expect(layout.begin("a", 2)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("a is written twice"),
    });
    await expect(layout.begin("../a", 2)).rejects.toMatchObject({ code: "UNSAFE_PATH" });
    expect(layout.end()).toEqual(end);
  });
});
