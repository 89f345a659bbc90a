/** The backend suite catches a backend that breaks a rule, and names the rule. */
import { expect, test } from "vitest";
import type { Backend } from "../../backend";
import { ByteBudget } from "../../budget";
import { hostBackend } from "../../host-backend";
import type { HostLeaf, HostTensor } from "../../host-tensor";
import { backendConformance } from "../index";
import {
  type BreakBackend,
  batchwise,
  budgets,
  bytesOf,
  closingAll,
  counted,
  latest,
  newOffsets,
  noRoom,
  oneAtATime,
  quietNaNs,
  reader,
  reading,
  rejectTooSoon,
  replace,
  restoring,
  snapshots,
  spill,
} from "./backend-breaks";
import { ImmutableTensor, immutableSuite } from "./immutable-backend";
import { casesOf, failuresUntil } from "./run-suite";

const BROKEN: [what: string, rule: RegExp, breaks: BreakBackend][] = [
  [
    "loses the shape",
    /`describe` says dtype and shape/,
    (b) => ({ ...b, describe: (tensor) => ({ ...b.describe(tensor), shape: [1] }) }),
  ],
  [
    "accepts anything",
    /what is no tensor is not accepted/,
    (b) => ({ ...b, accepts: (value): value is HostLeaf => value !== undefined }),
  ],
  [
    "takes all tensors for one",
    /are different tensors/,
    (b) => ({ ...b, identify: () => ({ memory: b, offset: 0 }) }),
  ],
  [
    "has a new identity at each look",
    /one tensor has one identity/,
    (b) => ({ ...b, identify: () => ({ memory: {}, offset: 0 }) }),
  ],
  ["has a new offset at each look", /one tensor has one identity/, (b) => ({ ...b, identify: newOffsets() })],
  [
    "reads from multiples of 4",
    /bytes \d+ to \d+ are read/,
    reading((s, ranges, into) =>
      s.read(
        ranges.map(({ name, start, end }) => ({ name, start: start & ~3, end: (start & ~3) + end - start })),
        into,
      ),
    ),
  ],
  [
    "reads ranges in an order of its own",
    /in the order that was asked for|ranges are packed/,
    reading((s, ranges, into) =>
      s.read(
        [...ranges].sort((a, b) => a.name.localeCompare(b.name)),
        into,
      ),
    ),
  ],
  [
    "writes in words of 4 bytes",
    /nothing beside it/,
    reading(async (s, ranges, into) => {
      await s.read(ranges, into);
      spill(into);
    }),
  ],
  [
    "converts what it copies",
    /copied, not converted/,
    reading(async (s, ranges, into) => {
      await s.read(ranges, into);
      quietNaNs(into);
    }),
  ],
  ["serves one read only", /calls of `read` may overlap/, reading(oneAtATime())],
  [
    "copies nothing",
    /what was frozen does not change/,
    snapshots((_, tensors, b) =>
      replace(b.snapshot(tensors, noRoom()), { mode: "device-copy", staged: Promise.resolve() }),
    ),
  ],
  ["blocks where it need not", /does not block/, snapshots((_, tensors, b) => b.snapshot(tensors, noRoom()))],
  [
    "is staged too soon",
    /staged at `close`, not before/,
    snapshots((s) => replace(s, { staged: Promise.resolve() })),
  ],
  ["has one copy for all snapshots", /leaves the first as it was/, snapshots(latest())],
  [
    "keeps what it reserved",
    /, 0 bytes are reserved/,
    budgets((budget) => ({ ...counted(budget), release() {} })),
  ],
  [
    "releases more than it reserved",
    /releases what it reserved/,
    budgets((budget) => ({ ...counted(budget), release: (bytes) => budget.release(bytes + 1) })),
  ],
  [
    "takes room that it was not given",
    /with no room a snapshot is `blocking`/,
    budgets(() => new ByteBudget(2 ** 30)),
  ],
  ["copies what it did not reserve", /is reserved/, budgets(({ limit }) => new ByteBudget(limit))],
  [
    "allocates for each save",
    /does not grow/,
    (b) => ({ ...b, snapshot: (...all) => hostBackend().snapshot(...all) }),
  ],
  [
    "prepares for another save",
    /after `prepare` a save reserves no more/,
    (b) => ({
      ...b,
      prepare: async (_, options) => b.prepare?.(new Map([["w", new Float32Array(5)]]), options),
    }),
  ],
  ["frees what is in use", /frees what is kept between saves/, closingAll()],
  [
    "reads after `close`",
    /closed reads nothing/,
    snapshots((s, tensors, b) => replace(s, { read: reader(b.snapshot(tensors, noRoom())) })),
  ],
  [
    "reads when it was told not to",
    /`read` with an aborted signal rejects/,
    reading((s, ranges, into) => s.read(ranges, into)),
  ],
  ["writes after it has rejected", /once a read has settled/, reading(rejectTooSoon)],
  [
    "loses a tensor",
    /same names, in the same order/,
    restoring((restored) => new Map([...restored].slice(1))),
  ],
  [
    "returns tensors in another order",
    /same names, in the same order/,
    restoring((restored) => new Map([...restored].reverse())),
  ],
  [
    "restores every part at the start",
    /gives back what was saved/,
    (b) => ({
      ...b,
      restore: (tensors, source, signal) =>
        b.restore(
          tensors,
          batchwise(source, ({ parts, release }) => ({
            parts: parts.map((part) => ({ ...part, start: 0 })),
            release,
          })),
          signal,
        ),
    }),
  ],
  [
    "uses bytes that it has given back",
    /gives back what was saved/,
    (b) => ({
      ...b,
      restore: (tensors, source, signal) =>
        b.restore(
          tensors,
          batchwise(source, ({ parts, release }) => {
            release();
            return { parts, release };
          }),
          signal,
        ),
    }),
  ],
  [
    "takes a source that failed for one that ended",
    /rejects when its source throws/,
    (b) => ({
      ...b,
      restore: (tensors, source, signal) => b.restore(tensors, source, signal).catch(() => tensors),
    }),
  ],
  [
    "restores when it was told not to",
    /`restore` with an aborted signal/,
    (b) => ({ ...b, restore: (tensors, source) => b.restore(tensors, source) }),
  ],
];

const BROKEN_IMMUTABLE: [what: string, rule: RegExp, changes: Partial<Backend<ImmutableTensor>>][] = [
  ["disposes of a tensor that has another name", /frees one reference/, { share: (tensor) => tensor }],
  [
    "restores into the caller's own tensors",
    /the caller's own tensors are left as they are/,
    {
      async restore(tensors, source) {
        for await (const { parts, release } of source.batches()) {
          for (const { name, start, bytes } of parts) tensors.get(name)?.bytes.set(bytes, start);
          release();
        }
        return new Map(
          [...tensors].map(([name, { spec, bytes }]) => [name, new ImmutableTensor(spec, bytes.slice())]),
        );
      },
    },
  ],
];

test.each(BROKEN_IMMUTABLE)("a backend of immutable tensors that %s", async (_, rule, changes) => {
  const cases = casesOf((runner) => backendConformance(runner, immutableSuite("broken", changes)));
  expect((await failuresUntil(rule, cases)).at(-1)).toMatch(rule);
});

test.each(BROKEN)("a backend that %s", async (_, rule, breaks) => {
  const open = async () => ({
    backend: breaks(hostBackend()),
    create: async ({ dtype, shape }: Omit<HostTensor, "data">, data: Uint8Array) => ({ data, dtype, shape }),
    bytes: async (tensor: HostLeaf) => bytesOf(tensor).slice(),
    async overwrite(tensor: HostLeaf, bytes: Uint8Array) {
      bytesOf(tensor).set(bytes);
      return tensor;
    },
  });
  const cases = casesOf((runner) => backendConformance(runner, { name: "broken", open }));
  expect((await failuresUntil(rule, cases)).at(-1)).toMatch(rule);
});
