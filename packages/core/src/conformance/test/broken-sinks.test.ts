/** The sink suite catches a sink that breaks a rule, and names the rule. */
import { expect, test } from "vitest";
import { formatId } from "../../checkpoint-id";
import { memorySink } from "../../memory-sink";
import { sinkConformance } from "../index";
import { casesOf, failuresUntil } from "./run-suite";
import {
  type BreakSink,
  endAtFailure,
  hideCause,
  keepLast,
  mixing,
  readers,
  releaseEarly,
  statuses,
  takeWhatComes,
  writers,
  writing,
} from "./sink-breaks";

const BROKEN: [what: string, rule: RegExp, breaks: BreakSink][] = [
  [
    "declares what it was not said to",
    /`capabilities` are/,
    (s) => ({ ...s, capabilities: { ...s.capabilities, ranks: false } }),
  ],
  [
    "keeps its last chunk",
    /when `write` resolves every chunk was released/,
    writing((write, plan, chunks) => write(plan, keepLast(plan, chunks))),
  ],
  [
    "reads chunks after it released them",
    /reads back as it was written/,
    writing((write, plan, chunks) => write(plan, releaseEarly(chunks))),
  ],
  ["takes too few bytes for enough", /add up to exactly/, writing(takeWhatComes)],
  ["takes a source that failed for one that ended", /rejects when its source throws/, writing(endAtFailure)],
  ["hides why its source failed", /or has it as the cause/, writing(hideCause)],
  ["goes on after an abort", /asks for no more chunks/, writing(takeWhatComes)],
  [
    "shows attempts as committed",
    /`list` .*committed/,
    (s) => ({
      ...s,
      list: async () => (await s.list({ all: true })).map(({ id }) => ({ id, state: "committed" })),
    }),
  ],
  [
    "commits at `finish`",
    /no other|cannot be opened/,
    (s) =>
      writers((writer, attempt) => ({
        ...writer,
        finish: async (manifest) => {
          await writer.finish(manifest);
          await s.commit(attempt, formatId({ step: attempt.step, revision: 1 }), []);
        },
      }))(s),
  ],
  [
    "commits over what is there",
    /never rewritten/,
    (s) => ({
      ...s,
      async commit(attempt, id, files) {
        await s.delete(id).catch(() => undefined);
        await s.commit(attempt, id, files);
      },
    }),
  ],
  [
    "loses the commit record",
    /holds the files that were written/,
    (s) => ({ ...s, commit: (attempt, id, files) => s.commit(attempt, id, files.slice(0, -1)) }),
  ],
  [
    "leaves aborted attempts behind",
    /nothing is left of the attempt/,
    writers((writer) => ({ ...writer, abort: async () => {} })),
  ],
  [
    "aborts what was committed",
    /opens what was committed/,
    (s) =>
      writers((writer, { step }) => ({
        ...writer,
        abort: async () => {
          await writer.abort();
          await s.delete(formatId({ step, revision: 1 })).catch(() => undefined);
        },
      }))(s),
  ],
  [
    "mixes ordinals",
    /not another's/,
    mixing(({ runId, step, worldSize }) => ({ runId, step, worldSize, ordinal: 1 })),
  ],
  ["mixes runs", /not another's/, mixing((attempt) => ({ ...attempt, runId: "any" }))],
  [
    "never knows of a commit",
    /knows of the commit/,
    (s) => ({ ...s, status: async (attempt) => ({ ...(await s.status(attempt)), committed: false }) }),
  ],
  [
    "forgets failures",
    /leaves a mark/,
    (s) => ({ ...s, status: async (attempt) => ({ ...(await s.status(attempt)), failed: [] }) }),
  ],
  [
    "forgets manifests",
    /names each rank/,
    (s) => ({ ...s, status: async (attempt) => ({ ...(await s.status(attempt)), finished: [] }) }),
  ],
  [
    "stops reading what was deleted",
    /after a deletion/,
    readers((reader, s) => ({
      ...reader,
      read: async (...all) => {
        await s.open(reader.id);
        await reader.read(...all);
      },
    })),
  ],
  [
    "gives zeros past the end",
    /ends too soon/,
    readers((reader) => ({
      ...reader,
      read: async (path, start, into, signal) => {
        const length = reader.files.get(path)?.byteLength ?? 0;
        await reader.read(
          path,
          Math.min(start, length),
          into.subarray(0, Math.max(0, length - start)),
          signal,
        );
      },
    })),
  ],
  [
    "reads from the start, always",
    /bytes \d+ to \d+ are read/,
    readers((reader) => ({ ...reader, read: (path, _, into, signal) => reader.read(path, 0, into, signal) })),
  ],
  [
    "reads when it was told not to",
    /`read` with an aborted signal/,
    readers((reader) => ({ ...reader, read: (path, start, into) => reader.read(path, start, into) })),
  ],
  [
    "lies about lengths",
    /path and length/,
    readers((reader) => ({
      ...reader,
      files: new Map([...reader.files].map(([path, file]) => [path, { ...file, byteLength: 1 }])),
    })),
  ],
  [
    "sweeps attempts that go on",
    /owner lives/,
    (s) => ({
      ...s,
      async sweep() {
        await s.close();
        return s.sweep();
      },
    }),
  ],
  ["sweeps nothing", /`sweep` returns the names/, (s) => ({ ...s, sweep: async () => [] })],
  [
    "deletes what is not there",
    /an unknown id is not found/,
    (s) => ({ ...s, delete: (id) => s.delete(id).catch(() => undefined) }),
  ],
  [
    "throws errors of its own kind",
    /by a HoldfastError/,
    (s) => ({
      ...s,
      open: (id) =>
        s.open(id).catch(() => {
          throw new Error("ENOENT");
        }),
    }),
  ],
  [
    "follows ids out of its root",
    /nothing outside the root/,
    (s) => ({ ...s, open: (id) => s.open(id.split("/").at(-1) ?? id) }),
  ],
  [
    "begins when it was told not to",
    /`begin` with an aborted signal/,
    (s) => ({ ...s, begin: (attempt, rank) => s.begin(attempt, rank) }),
  ],
  [
    "shows a rank its own part only",
    /`status` names the ranks/,
    statuses((status) => ({ ...status, finished: status.finished.slice(0, 1) })),
  ],
  [
    "shows ranks in any order",
    /`status` names the ranks/,
    statuses((status) => ({ ...status, finished: [...status.finished].reverse() })),
  ],
  [
    "gives every rank the manifest of rank 0",
    /`manifest` gives each rank's own/,
    (s) => ({ ...s, manifest: (attempt) => s.manifest(attempt, 0) }),
  ],
  [
    "commits without a rank",
    /before every rank has finished/,
    (s) => ({
      ...s,
      async commit(attempt, id, files) {
        const { finished } = await s.status(attempt);
        for (let rank = 0; rank < attempt.worldSize; rank++)
          if (attempt.worldSize > 1 && !finished.includes(rank))
            await (await s.begin(attempt, rank)).finish();
        await s.commit(attempt, id, files);
      },
    }),
  ],
  [
    "commits with a rank too many",
    /a rank beyond the world/,
    (s) => ({
      ...s,
      async commit(attempt, id, files) {
        const { finished } = await s.status(attempt);
        const worldSize = attempt.worldSize === 1 ? 1 : Math.max(finished.length, attempt.worldSize);
        await s.commit({ ...attempt, worldSize }, id, files);
      },
    }),
  ],
  [
    "tells ranks at different steps apart",
    /alone say which attempt/,
    mixing((attempt) =>
      attempt.worldSize === 1 ? attempt : { ...attempt, runId: `${attempt.runId}-${attempt.step}` },
    ),
  ],
  [
    "mixes attempts of several ranks",
    /of several ranks do not mix/,
    mixing((attempt) => (attempt.worldSize === 1 ? attempt : { ...attempt, runId: "any", ordinal: 1 })),
  ],
  [
    "hides marks from the others",
    /a mark says to every rank/,
    statuses((status) => ({ ...status, failed: status.failed.filter(({ rank }) => rank === 0) })),
  ],
  [
    "begins an attempt in order to leave a mark in it",
    /leaves the run's other attempts alone/,
    (s) => ({
      ...s,
      fail: async (attempt, rank, reason) => (await s.begin(attempt, rank)).fail(reason),
    }),
  ],
  [
    "removes what has finished",
    /`abort` after `finish` removes nothing/,
    (s) =>
      writers((writer, attempt) => ({
        ...writer,
        abort: async () => {
          await writer.abort();
          if (attempt.worldSize > 1) await s.begin(attempt, 1);
        },
      }))(s),
  ],
  [
    "goes on with an attempt that is over",
    /tells a rank that its attempt is over/,
    (s) => ({
      ...s,
      status: (attempt) => s.status(attempt).catch(() => ({ finished: [], failed: [], committed: false })),
    }),
  ],
  [
    "leaves earlier attempts",
    /`begin` of rank 0 removes/,
    (s) => {
      let left = false;
      return {
        ...s,
        begin(attempt, rank, options) {
          left ||= attempt.worldSize > 1 && attempt.ordinal > 1 && rank === 0;
          return s.begin(attempt, rank, options);
        },
        async list(options) {
          const listed = await s.list(options);
          return left && options?.all ? [...listed, { id: "attempt-1", state: "in-progress" }] : listed;
        },
      };
    },
  ],
  [
    "lets a rank begin what is over",
    /a rank cannot begin what rank 0 has gone on from/,
    (s) => ({
      ...s,
      begin: (attempt, rank, options) =>
        s
          .begin(attempt, rank, options)
          .catch(() => s.begin({ ...attempt, runId: "elsewhere" }, rank, options)),
    }),
  ],
  ["sweeps its own run", /spares attempts of the run/, (s) => ({ ...s, sweep: () => s.sweep() })],
  [
    "loses everything at `close`",
    /every committed checkpoint/,
    (s) => ({
      ...s,
      async close() {
        for (const { id } of await s.list()) await s.delete(id);
        await s.close();
      },
    }),
  ],
];

test.each(BROKEN)("a sink that %s", async (_, rule, breaks) => {
  const capabilities = memorySink().capabilities;
  const create = async () => {
    const sink = breaks(memorySink());
    return { sink, reopen: async () => sink, join: async () => sink };
  };
  const cases = casesOf((runner) => sinkConformance(runner, { name: "broken", capabilities, create }));
  expect((await failuresUntil(rule, cases)).at(-1)).toMatch(rule);
});
