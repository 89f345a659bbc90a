import fc from "fast-check";
import { expect, test } from "vitest";
import { Lookup } from "./lookup";

test("finds what a Map finds, whatever was asked for before", () => {
  const keys = fc.uniqueArray(fc.constantFrom("", "a", "b", "c", "d", "e"));
  const asked = fc.array(fc.constantFrom("", "a", "b", "c", "d", "e", "f"));
  fc.assert(
    fc.property(keys, asked, (keys, asked) => {
      const items = keys.map((key) => ({ key }));
      const lookup = new Lookup(items);
      const map = new Map<string, { key: string }>(items.map((item) => [item.key, item]));
      for (const key of [...asked, ...keys]) expect(lookup.get(key)).toBe(map.get(key));
    }),
  );
});
