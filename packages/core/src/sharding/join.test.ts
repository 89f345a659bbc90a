import { describe, expect, test } from "vitest";
import { HoldfastError } from "../errors";
import type { Manifest, ManifestTensor } from "../manifest";
import { byteLength, type DType } from "../tensor";
import { joinManifests } from "./join";
import type { Slice } from "./policy";

interface Held {
  readonly name?: string;
  readonly dtype?: DType;
  readonly shape: readonly number[];
  readonly slices?: readonly Slice[];
  /** What of it is written, as boxes. Default: all. */
  readonly boxes?: readonly (readonly [offset: readonly number[], shape: readonly number[]])[];
}

function tensor({ name = "w", dtype = "F32", shape, slices = [], boxes }: Held): ManifestTensor {
  const written = boxes ?? [[shape.map(() => 0), shape] as const];
  const shards = written.map(([offset, shape]) => ({
    offset,
    shape,
    file: 0,
    start: 0,
    end: byteLength({ dtype, shape }),
    digests: [],
  }));
  return { group: "model", name, spec: { dtype, shape }, slices, shards };
}

function manifest(rank: number, tensors: readonly ManifestTensor[], ties: Manifest["ties"] = []): Manifest {
  const path = `rank_${rank}/model.safetensors`;
  const files = [{ path, byteLength: 0, headBytes: 0, digests: [] }];
  const head = {
    runId: "a",
    step: 1,
    worldSize: 2,
    sharding: undefined,
    digest: "xxh64",
    blockBytes: 4096,
  } as const;
  return { ...head, rank, files, tensors, ties };
}

const refuse = (rule: string, cause?: unknown) => new HoldfastError("RANKS_DISAGREE", rule, { cause });

function join(...ranks: readonly (readonly Held[])[]) {
  return joinManifests(
    ranks.map((held, rank) => manifest(rank, held.map(tensor))),
    refuse,
  );
}

const cut = (dim: number, index: number, of: number): Slice => ({ dim, index, of });

describe("whole tensors", () => {
  test("lengths of slices come from all ranks, and offsets from the lengths", () => {
    const grid = [
      { shape: [2, 5], slices: [cut(0, 0, 2), cut(1, 0, 2)] },
      { shape: [2, 1], slices: [cut(0, 0, 2), cut(1, 1, 2)] },
      { shape: [3, 5], slices: [cut(0, 1, 2), cut(1, 0, 2)] },
      { shape: [3, 1], slices: [cut(0, 1, 2), cut(1, 1, 2)] },
    ];
    const whole = join(...grid.map((held) => [held])).get("model/w");
    expect(whole?.spec).toEqual({ dtype: "F32", shape: [5, 6] });
    expect(whole?.shards.map(({ rank, offset, shape, path }) => [rank, offset, shape, path])).toEqual([
      [0, [0, 0], [2, 5], "rank_0/model.safetensors"],
      [1, [0, 5], [2, 1], "rank_1/model.safetensors"],
      [2, [2, 0], [3, 5], "rank_2/model.safetensors"],
      [3, [2, 5], [3, 1], "rank_3/model.safetensors"],
    ]);
  });

  test("replicas have each written some rows, and a slice may have none", () => {
    const slices = [cut(1, 0, 2)];
    const whole = join(
      [
        {
          shape: [4, 3],
          slices,
          boxes: [
            [
              [2, 0],
              [2, 3],
            ],
          ],
        },
      ],
      [
        {
          shape: [4, 3],
          slices,
          boxes: [
            [
              [0, 0],
              [2, 3],
            ],
          ],
        },
      ],
      [{ shape: [4, 0], slices: [cut(1, 1, 2)] }],
    ).get("model/w");
    expect(whole?.spec.shape).toEqual([4, 3]);
    expect(whole?.shards.map(({ rank }) => rank)).toEqual([1, 2, 0]);
  });

  test("a slice of one is the whole", () => {
    const whole = join(
      [{ shape: [4], slices: [cut(0, 0, 1)], boxes: [[[0], [1]]] }],
      [{ shape: [4], boxes: [[[1], [3]]] }],
    );
    expect(whole.get("model/w")?.spec.shape).toEqual([4]);
  });
});

describe("what does not fit together is refused, and it is said by whom", () => {
  test.each<[string, RegExp, readonly (readonly Held[])[]]>([
    [
      "two that hold the same",
      /model\/w has .* held by rank 0 and rank 1/,
      [[{ shape: [2] }], [{ shape: [2] }]],
    ],
    [
      "two that overlap",
      /held by rank 0 and rank 1/,
      [
        [
          {
            shape: [4, 2],
            boxes: [
              [
                [0, 0],
                [3, 2],
              ],
            ],
          },
        ],
        [
          {
            shape: [4, 2],
            boxes: [
              [
                [2, 1],
                [2, 1],
              ],
            ],
          },
        ],
      ],
    ],
    [
      "one that overlaps itself",
      /model\/w has elements that rank 1 has written twice/,
      [
        [{ name: "b", shape: [1] }],
        [
          {
            shape: [2],
            boxes: [
              [[0], [2]],
              [[1], [1]],
            ],
          },
        ],
      ],
    ],
    [
      "rows that nobody has written",
      /^no rank has written rows 5 to 7 of model\/w$/,
      [
        [
          {
            shape: [9, 2],
            boxes: [
              [
                [0, 0],
                [5, 2],
              ],
            ],
          },
        ],
        [
          {
            shape: [9, 2],
            boxes: [
              [
                [8, 0],
                [1, 2],
              ],
            ],
          },
        ],
      ],
    ],
    [
      "a row of which something is missing",
      /^no rank has written all of row 1 of model\/w$/,
      [
        [
          {
            shape: [2, 2],
            boxes: [
              [
                [0, 0],
                [1, 2],
              ],
            ],
          },
        ],
        [
          {
            shape: [2, 2],
            boxes: [
              [
                [1, 1],
                [1, 1],
              ],
            ],
          },
        ],
      ],
    ],
    ["a scalar that nobody has written", /^no rank has written model\/w$/, [[{ shape: [], boxes: [] }]]],
    [
      "another dtype",
      /^rank 1 has model\/w as F16\[2\], and rank 0 as F32\[2\]$/,
      [[{ shape: [2] }], [{ dtype: "F16", shape: [2] }]],
    ],
    [
      "another length along what is not cut",
      /^rank 2 has model\/w as F32\[3,4\], slice 2 of 3 along dimension 0, and rank 0 as F32\[2,5\], slice 0 of 3/,
      [
        [{ shape: [2, 5], slices: [cut(0, 0, 3)] }],
        [{ shape: [2, 5], slices: [cut(0, 1, 3)] }],
        [{ shape: [3, 4], slices: [cut(0, 2, 3)] }],
      ],
    ],
    [
      "another length of the same slice",
      /^rank 1 has model\/w as F32\[3\], slice 0 of 2 along dimension 0, and rank 0 as F32\[2\], slice 0 of 2/,
      [[{ shape: [2], slices: [cut(0, 0, 2)] }], [{ shape: [3], slices: [cut(0, 0, 2)] }]],
    ],
    [
      "cut along another dimension, into other numbers, or not at all",
      /^rank 1 has model\/w as F32\[2,2\], and rank 0 as F32\[2,2\], slice 0 of 2 along dimension 1$/,
      [[{ shape: [2, 2], slices: [cut(1, 0, 2)] }], [{ shape: [2, 2] }]],
    ],
    ["other axes", /F32\[2,1\], and rank 0 as F32\[2\]/, [[{ shape: [2] }], [{ shape: [2, 1] }]]],
    [
      "a slice that is missing",
      /^no rank has written slice 1 of the 3 along dimension 0 of model\/w$/,
      [[{ shape: [2], slices: [cut(0, 0, 3)] }], [{ shape: [2], slices: [cut(0, 2, 3)] }]],
    ],
    [
      "as many slices as no checkpoint has",
      /^no rank has written slice 1 of the 9007199254740991 along dimension 0/,
      [[{ shape: [2], slices: [cut(0, 0, Number.MAX_SAFE_INTEGER)] }]],
    ],
    [
      "a whole that is larger than numbers",
      /^model\/w is put together to F32\[\d+,0\], which is impossible/,
      [0, 1].map((index) => [{ shape: [Number.MAX_SAFE_INTEGER, 0], slices: [cut(0, index, 2)] }]),
    ],
    [
      "a shape that is larger than bytes can be",
      /which is impossible/,
      [
        [
          {
            shape: [2 ** 40, 2 ** 40],
            boxes: [
              [
                [0, 0],
                [1, 1],
              ],
            ],
          },
        ],
      ],
    ],
  ])("%s", (_, message, ranks) => {
    expect(() => join(...ranks)).toThrow(
      expect.objectContaining({ code: "RANKS_DISAGREE", message: expect.stringMatching(message) }),
    );
  });

  test("ties to different tensors, and of what another rank has written", () => {
    const tie = (to: string) => [{ group: "model", name: "t", to: { group: "model", name: to } }];
    const [a, b] = [tensor({ name: "a", shape: [1] }), tensor({ name: "b", shape: [1] })];
    const joined = joinManifests([manifest(0, [a], tie("a")), manifest(1, [b])], refuse);
    expect(joined.get("model/t")).toBe(joined.get("model/a"));
    const other = () => joinManifests([manifest(0, [a], tie("a")), manifest(1, [b], tie("b"))], refuse);
    expect(other).toThrow("rank 1 ties model/t to model/b, and rank 0 to model/a");
    const written = tensor({ name: "t", shape: [1] });
    const both = () => joinManifests([manifest(0, [a], tie("a")), manifest(1, [written])], refuse);
    expect(both).toThrow("rank 0 ties model/t to model/a, and rank 1 has written it");
  });
});

test("a tensor of 4,096 shards in a grid, one of them too many", () => {
  const of = 64;
  const ranks = Array.from({ length: of * of }, (_, rank) => [
    { shape: [2, 3], slices: [cut(0, Math.floor(rank / of), of), cut(1, rank % of, of)] },
  ]);
  const whole = join(...ranks).get("model/w");
  expect(whole?.spec.shape).toEqual([2 * of, 3 * of]);
  expect(whole?.shards).toHaveLength(of * of);
  const again = ranks[1234] ?? [];
  expect(() => join(...ranks, again)).toThrow(/held by rank 1234 and rank 4096/);
});
