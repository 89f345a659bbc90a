/** What N ranks saved is restored by M ranks, under any policies, bit for bit. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB } from "./chunk-pool";
import { Digester } from "./digest";
import { hostBackend } from "./host-backend";
import type { HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";
import { mesh, shard } from "./sharding/mesh";
import { replicated, tensorParallel, zeroPartitioned } from "./sharding/policies";
import type { ShardingPolicy } from "./sharding/policy";
import type { Sink } from "./sink";

/** Of every rank together: two dimensions, which policies cut, and bytes that tell where they are. */
interface Whole {
  readonly rows: number;
  readonly columns: number;
}

const SHAPES: Readonly<Record<string, Whole>> = {
  "model/wide": { rows: 3, columns: 41 },
  "model/tall": { rows: 67, columns: 2 },
  "model/large": { rows: 301, columns: 450 },
  "model/norm": { rows: 1, columns: 5 },
  "optimizer/wide.m": { rows: 3, columns: 41 },
  "optimizer/tall.m": { rows: 67, columns: 2 },
  "optimizer/large.m": { rows: 301, columns: 450 },
  "optimizer/step": { rows: 1, columns: 1 },
};

interface Held {
  readonly rows: readonly [number, number];
  readonly columns: readonly [number, number];
}

/** A policy, and what rank `rank` holds under it of a tensor; undefined if it does not hold it. */
interface Layout {
  readonly policy: ShardingPolicy;
  held(key: string, rank: number): Held | undefined;
}

const whole = ({ rows, columns }: Whole): Held => ({ rows: [0, rows], columns: [0, columns] });
const evenly = (length: number, of: number) =>
  Array.from({ length: of }, (_, i) => Math.floor(length / of) + (i < length % of ? 1 : 0));
/** All to the last but one a rank: as uneven as can be. */
const unevenly = (length: number, of: number) =>
  Array.from({ length: of }, (_, i) =>
    i < of - 1 ? Math.min(1, Math.max(0, length - i)) : Math.max(0, length - of + 1),
  );
const rangeOf = (lengths: readonly number[], index: number): [number, number] => {
  const start = lengths.slice(0, index).reduce((sum, one) => sum + one, 0);
  return [start, start + (lengths[index] ?? 0)];
};
const sizesOf = (key: string): Whole => SHAPES[key] ?? { rows: 0, columns: 0 };
const isCut = (key: string, what: string) => key.includes(what);

/** For a number of ranks, every policy that can be. */
function layouts(ranks: number): readonly Layout[] {
  const all: Layout[] = [
    { policy: replicated(), held: (key) => whole(sizesOf(key)) },
    { policy: replicated({ writer: ranks - 1 }), held: (key) => whole(sizesOf(key)) },
  ];
  for (const stage of [1, 3] as const) {
    const policy = zeroPartitioned({ stage });
    const keys = Object.keys(SHAPES);
    all.push({
      policy,
      held: (key, rank) =>
        policy.partitions?.(key.split("/")[0] ?? "") && keys.indexOf(key) % ranks !== rank
          ? undefined
          : whole(sizesOf(key)),
    });
  }
  for (const cut of [evenly, unevenly]) {
    all.push({
      policy: tensorParallel({
        splitDims: { wide: 1, tall: 0, large: 1 },
        cut: (_tensor, _dim, length, of) => cut(length, of),
      }),
      held: (key, rank) => {
        const { rows, columns } = sizesOf(key);
        if (isCut(key, "tall")) return { rows: rangeOf(cut(rows, ranks), rank), columns: [0, columns] };
        if (isCut(key, "wide") || isCut(key, "large"))
          return { rows: [0, rows], columns: rangeOf(cut(columns, ranks), rank) };
        return whole(sizesOf(key));
      },
    });
  }
  for (const dp of [2, 4].filter((dp) => ranks % dp === 0)) {
    const tp = ranks / dp;
    all.push({
      policy: mesh({
        shape: { dp, tp },
        cut: (_tensor, _dim, length, of) => evenly(length, of), // what `held` goes by
        place: ({ name }) =>
          name.startsWith("large")
            ? { dp: shard(0), tp: shard(1) }
            : name.startsWith("wide")
              ? { tp: shard(1) }
              : {},
      }),
      held: (key, rank) => {
        const { rows, columns } = sizesOf(key);
        const [atDp, atTp] = [Math.floor(rank / tp), rank % tp];
        const range = rangeOf(evenly(columns, tp), atTp);
        if (isCut(key, "large")) return { rows: rangeOf(evenly(rows, dp), atDp), columns: range };
        return isCut(key, "wide") ? { rows: [0, rows], columns: range } : whole(sizesOf(key));
      },
    });
  }
  return all;
}

const digester = await Digester.create("xxh64");

type State = Record<string, Record<string, HostTensor>>;

function stateOf(layout: Layout, rank: number, seed: number | undefined): State {
  const state: State = { model: {}, optimizer: {} };
  for (const key of Object.keys(SHAPES)) {
    const held = layout.held(key, rank);
    if (!held) continue;
    const [group = "", name = ""] = key.split("/");
    const shape = [held.rows[1] - held.rows[0], held.columns[1] - held.columns[0]];
    const data = new Uint16Array((shape[0] ?? 0) * (shape[1] ?? 0)).fill(0xffff);
    if (seed !== undefined) {
      let at = 0;
      for (let row = held.rows[0]; row < held.rows[1]; row++) {
        for (let column = held.columns[0]; column < held.columns[1]; column++)
          data[at++] = row * 311 + column * 7 + seed + key.length;
      }
    }
    state[group] = { ...state[group], [name]: { data, dtype: "F16", shape } };
  }
  return state;
}

/** Short enough to be compared by a test runner. */
function described(state: State): Readonly<Record<string, unknown>> {
  const entries = Object.entries(state).flatMap(([group, tensors]) =>
    Object.entries(tensors).map(([name, { data, dtype, shape }]) => {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return [`${group}/${name}`, [dtype, shape, digester.digest(bytes)]] as const;
    }),
  );
  return Object.fromEntries(entries);
}

function open(sink: Sink, { policy }: Layout, rank: number, worldSize: number) {
  const ranks = { runId: `run-of-${worldSize}`, rank, worldSize, sharding: policy };
  return AsyncCheckpointer.open({
    backend: hostBackend(),
    sink,
    memory: { host: 96 * KiB },
    ...(worldSize > 1 ? ranks : {}),
  });
}

/** Each rank saves, and overwrites its tensors as soon as they are staged, the last first. */
async function saveOn(sink: Sink, layout: Layout, ranks: number, seed: number): Promise<void> {
  await Promise.all(
    Array.from({ length: ranks }, async (_, rank) => {
      const checkpointer = await open(sink, layout, rank, ranks);
      const state = stateOf(layout, rank, seed);
      const save = checkpointer.save({ step: 1, state, extra: { seed }, rankExtra: { rank } });
      await save.staged;
      const tensors = Object.values(state).flatMap((group) => Object.values(group));
      for (const { data } of tensors.reverse()) (data as Uint16Array).fill(0);
      await save.committed;
      await checkpointer.close();
    }),
  );
}

async function restoreOn(
  sink: Sink,
  layout: Layout,
  ranks: number,
  seed: number,
  saved: number,
): Promise<void> {
  for (let rank = 0; rank < ranks; rank++) {
    const checkpointer = await open(sink, layout, rank, ranks);
    const resumed = await checkpointer.restore(stateOf(layout, rank, undefined), { step: 1 });
    expect(described(resumed.state)).toEqual(described(stateOf(layout, rank, seed)));
    expect(resumed.extra).toEqual({ seed });
    expect(resumed.rankExtras).toEqual(Array.from({ length: saved }, (_, rank) => ({ rank })));
    expect(resumed.rankExtra).toEqual(saved === ranks ? { rank } : undefined);
    await checkpointer.close();
  }
}

const COUNTS = [1, 2, 3, 4, 5, 6, 7, 8];
const PAIRS = COUNTS.flatMap((from) => COUNTS.map((to) => [from, to] as const));

test.each(PAIRS)("%i ranks → %i", async (from, to) => {
  const one: Layout = { policy: replicated(), held: (key) => whole(sizesOf(key)) };
  const of = (ranks: number) => (ranks === 1 ? [one] : layouts(ranks));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...of(from)),
      fc.constantFrom(...of(to)),
      fc.nat(1000),
      async (saving, restoring, seed) => {
        const sink = memorySink();
        await saveOn(sink, saving, from, seed);
        await restoreOn(sink, restoring, to, seed, from);
      },
    ),
    { numRuns: 4 },
  );
});
