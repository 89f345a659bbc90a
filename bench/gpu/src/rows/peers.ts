/** The same state, saved by Holdfast and by what people use in Python, on the same disk in the same run. */
import { atLeast } from "../../../src/goal";
import type { Contestant, Goal, Group, Room, RowPlan } from "../../../src/measure";
import { ratioOf } from "../../../src/rows/compared";
import type { PeerOptions } from "../children/python";
import type { SaveOptions } from "../children/save";
import { roomFor } from "../room";
import type { GpuScale } from "../scale";

/** By the names that python/peers.py has for them, and how many times the state they take of the host's memory. */
const PEERS = [
  { peer: "torch.save", name: "torch.save", host: 0.5 },
  { peer: "dcp-default", name: "DCP async_save, default", host: 1.5 },
  { peer: "dcp-pinned", name: "DCP async_save, pinned non-blocking stager", host: 1.5 },
  { peer: "dcp-process", name: "DCP async_save, process", host: 2.5 },
  { peer: "dcp-process-pinned", name: "DCP async_save, process, pinned non-blocking stager", host: 2.5 },
  { peer: "orbax", name: "Orbax AsyncCheckpointer", host: 2.5 },
] as const;

const SIDECAR = "Holdfast, torch and the sidecar";
const NODE = "Holdfast, Node";
const BLOCKING = "Holdfast, Node, blocking";

/** What everybody is compared with: the first that can be had, and is somebody else. */
const OURS = [SIDECAR, NODE];

export function peersGroups(scale: GpuScale): Group[] {
  return scale.sizes.map((size) => peersGroup(size, scale));
}

function peersGroup(size: number, { quick, python }: GpuScale): Group {
  const bytes = size * 1e9;
  const repeats = quick || size > 8 ? 1 : size > 2 ? 2 : 3;
  const inNode = (name: string, mode: SaveOptions["mode"]): Contestant => ({
    name,
    child: "save",
    options: { bytes, mode, repeats } satisfies SaveOptions,
    room: roomFor(bytes, { disk: 1, device: mode === "blocking" ? 1 : 2 }),
  });
  const inPython = (name: string, peer: string, ours: boolean, room: Partial<Room>): Contestant => ({
    name,
    child: "python",
    options: { program: "peers", bytes, repeats, peer, python, ours } satisfies PeerOptions,
    room: roomFor(bytes, { disk: 1, ...room }),
  });
  const contestants = [
    inPython(SIDECAR, "holdfast", true, { device: 2 }),
    inNode(NODE, "device-copy"),
    ...PEERS.map(({ peer, name, host }) => inPython(name, peer, false, { device: 1, host })),
    inNode(BLOCKING, "blocking"),
  ];
  const isPeer = (name: string) => !name.startsWith("Holdfast");
  const rows = (what: string, figure: string, unit: string, goal?: Goal) =>
    contestants.map(({ name }) =>
      beside({ name: `${size} GB, ${what}: ${name}`, contestant: name, figure, unit }, isPeer(name) && goal),
    );
  return {
    name: `peers-${size}GB`,
    about:
      `GPT-2's tensors with Adam's moments, ${size} GB in all. The stall is the time from the call until the tensors ` +
      "may change and the training stream has nothing left to wait for, on an idle device; a training loop can " +
      "overlap with a part of it only where the call returns before. Durable is until every file and directory is " +
      "synced, by whoever saves or else by the bench right after. Memory is the most that was resident above what was " +
      `before the first save, of the process and those it starts. One save warms up, ${repeats} count, or fewer where ` +
      "there is no time for more.",
    runs: 1,
    contestants,
    rows: [
      ...rows("stall", "stallMs", "ms", atLeast(1)),
      ...rows("call", "callMs", "ms"),
      ...rows("until durable", "durableS", "s"),
      ...rows("resident memory", "residentMib", "MiB"),
    ],
  };
}

interface Shown {
  readonly name: string;
  readonly contestant: string;
  readonly figure: string;
  readonly unit: string;
}

/** What a contestant has, by itself: so that it is in the table whoever else cannot be had. */
function beside({ name, contestant, figure, unit }: Shown, goal: Goal | false | undefined): RowPlan {
  const others = OURS.filter((ours) => ours !== contestant);
  return {
    name,
    needs: [contestant],
    beside: others,
    ...(goal && { goal }),
    figure: (median) => {
      const value = median(contestant, figure);
      const other = others
        .map((ours) => ({ name: ours, value: median(ours, figure) }))
        .find((ours) => !Number.isNaN(ours.value));
      return other ? ratioOf(value, other, unit) : { value, unit };
    },
  };
}
