/** The same state, saved by what people use in Python, on the same disk in the same run. */
import { atMost } from "../../../src/goal";
import type { Contestant, Group, RowPlan } from "../../../src/measure";
import { compared } from "../../../src/rows/compared";
import type { PeerOptions } from "../children/peer";
import type { SaveOptions } from "../children/save";
import type { GpuScale } from "../scale";

/** By the names that python/peers.py has for them. */
const PEERS = {
  "torch.save": "torch.save",
  "dcp-default": "DCP async_save, default",
  "dcp-pinned": "DCP async_save, pinned non-blocking stager",
  "dcp-process": "DCP async_save, process",
  "dcp-process-pinned": "DCP async_save, process, pinned non-blocking stager",
  orbax: "Orbax AsyncCheckpointer",
} as const;

const OURS = "Holdfast";
const BLOCKING = "Holdfast, blocking";

export function peersGroups(scale: GpuScale): Group[] {
  return scale.sizes.map((size) => peersGroup(size, scale));
}

function peersGroup(size: number, { quick, python }: GpuScale): Group {
  const bytes = size * 1e9;
  const repeats = quick || size > 8 ? 1 : size > 2 ? 2 : 3;
  const ours = (name: string, mode: SaveOptions["mode"]): Contestant => ({
    name,
    child: "save",
    options: { bytes, mode, repeats } satisfies SaveOptions,
  });
  const peers = Object.entries(PEERS).map(
    ([peer, name]): Contestant => ({
      name,
      child: "peer",
      options: { bytes, repeats, peer, python } satisfies PeerOptions,
    }),
  );
  const others = [BLOCKING, ...Object.values(PEERS)];
  return {
    name: `peers-${size}GB`,
    about:
      `GPT-2's tensors with Adam's moments, ${size} GB in all. The stall is the time from the call until the tensors ` +
      "may change and the training stream has nothing left to wait for, on an idle device; a training loop can " +
      "overlap with a part of it only where the call returns before. Durable is until every file and directory is " +
      "synced, by whoever saves or else by the bench right after. Memory is the most that was resident above what was " +
      `before the first save, of the process and those it starts. One save warms up, ${repeats} count.`,
    runs: 1,
    contestants: [ours(OURS, "device-copy"), ...peers, ours(BLOCKING, "blocking")],
    rows: [
      ...others.map((theirs): RowPlan => {
        const row = {
          name: `${size} GB, stall / ${theirs}`,
          ours: OURS,
          theirs,
          figure: "stallMs",
          unit: "ms",
        };
        return compared({ ...row, ...(theirs !== BLOCKING && { goal: atMost(1) }) });
      }),
      ...Object.values(PEERS).map((theirs) => ofBoth(`${size} GB, call`, theirs, "callMs", "ms")),
      ...others.map((theirs) => ofBoth(`${size} GB, until durable`, theirs, "durableS", "s")),
      ...others.map((theirs) => ofBoth(`${size} GB, resident memory`, theirs, "residentMib", "MiB")),
    ],
  };
}

function ofBoth(what: string, theirs: string, figure: string, unit: string): RowPlan {
  return compared({ name: `${what} / ${theirs}`, ours: OURS, theirs, figure, unit });
}
