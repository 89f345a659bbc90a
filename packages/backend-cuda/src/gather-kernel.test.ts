/** The kernel copies what its table says: by an interpreter of the PTX that it is made of, and by NVIDIA's assembler. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GATHER_KERNEL } from "./gather-kernel";

interface Copy {
  readonly to: number;
  readonly from: number;
  readonly byteLength: number;
}

interface Place {
  /** Of the block in its row, and of the thread in its block. */
  readonly block: number;
  readonly row: number;
  readonly thread: number;
  readonly blocks: number;
  readonly threads: number;
}

interface Instruction {
  readonly operation: string;
  readonly operands: readonly string[];
  readonly predicated: boolean;
}

/** The body of the kernel, and where its labels are. */
function parse(ptx: string): { instructions: Instruction[]; labels: Map<string, number> } {
  const body = ptx.slice(ptx.indexOf("{") + 1, ptx.lastIndexOf("}"));
  const instructions: Instruction[] = [];
  const labels = new Map<string, number>();
  for (const line of body.split("\n").map((text) => text.trim())) {
    if (line === "" || line.startsWith(".reg")) continue;
    if (line.endsWith(":")) labels.set(line.slice(0, -1), instructions.length);
    else {
      const predicated = line.startsWith("@%p ");
      const [operation = "", ...rest] = line.replace("@%p ", "").replace(";", "").split(" ");
      instructions.push({ operation, operands: operandsOf(rest.join(" ")), predicated });
    }
  }
  return { instructions, labels };
}

function operandsOf(text: string): string[] {
  return [...text.matchAll(/\{[^}]*\}|\[[^\]]*\]|[^,\s]+/g)].map(([operand]) => operand);
}

const program = parse(GATHER_KERNEL);

/** Runs one thread. Every access has to be aligned to its size, as on a device. */
function run(table: readonly Copy[], memory: DataView, place: Place): void {
  const registers = new Map<string, bigint>();
  const special: Record<string, number> = {
    "%ctaid.x": place.block,
    "%ctaid.y": place.row,
    "%nctaid.x": place.blocks,
    "%ntid.x": place.threads,
    "%tid.x": place.thread,
    table: 0,
  };
  const value = (operand = ""): bigint => {
    if (operand in special) return BigInt(special[operand] ?? 0);
    if (!operand.startsWith("%")) return BigInt(operand);
    const known = registers.get(operand);
    if (known === undefined) throw new Error(`${operand} was never set`);
    return known;
  };
  const address = (operand = "") => {
    const [base, offset = "0"] = operand.slice(1, -1).split("+");
    return Number(value(base) + BigInt(offset));
  };
  const parameters = table.flatMap(({ to, from, byteLength }) => [to, from, byteLength]);
  const access = (operand: string | undefined, size: number) => {
    const at = address(operand);
    if (at % size !== 0) throw new Error(`an access of ${size} bytes at ${at} is misaligned`);
    return at;
  };

  let predicate = false;
  for (let at = 0, steps = 0; ; at++, steps++) {
    const instruction = program.instructions[at];
    if (!instruction || steps > 10_000) throw new Error("the kernel does not return");
    const { operation, operands, predicated } = instruction;
    const [target = "", first, second] = operands;
    const set = (result: bigint) => registers.set(target, BigInt.asUintN(64, result));
    if (predicated && !predicate) continue;
    switch (operation) {
      case "ret":
        return;
      case "bra":
        at = (program.labels.get(target) ?? Number.NaN) - 1;
        break;
      case "mov.u32":
      case "mov.u64":
      case "mov.b64":
      case "cvt.u64.u32":
      case "cvta.to.global.u64":
        set(value(first));
        break;
      case "add.u64":
        set(value(first) + value(second));
        break;
      case "sub.u64":
        set(value(first) - value(second));
        break;
      case "mul.lo.u64":
      case "mul.wide.u32":
        set(value(first) * value(second));
        break;
      case "and.b64":
        set(value(first) & value(second));
        break;
      case "or.b64":
        set(value(first) | value(second));
        break;
      case "setp.gt.u64":
        predicate = value(first) > value(second);
        break;
      case "setp.ne.u64":
        predicate = value(first) !== value(second);
        break;
      case "ld.param.u64":
        set(BigInt(parameters[access(first, 8) / 8] ?? 0));
        break;
      case "ld.global.u8":
        set(BigInt(memory.getUint8(access(first, 1))));
        break;
      case "st.global.u8":
        memory.setUint8(access(target, 1), Number(value(first)));
        break;
      case "ld.global.u32":
        set(BigInt(memory.getUint32(access(first, 4))));
        break;
      case "st.global.u32":
        memory.setUint32(access(target, 4), Number(value(first)));
        break;
      case "ld.global.v4.u32":
        for (const [i, register] of operandsOf(target.slice(1, -1)).entries()) {
          registers.set(register, BigInt(memory.getUint32(access(first, 16) + 4 * i)));
        }
        break;
      case "st.global.v4.u32":
        for (const [i, register] of operandsOf(first?.slice(1, -1) ?? "").entries()) {
          memory.setUint32(access(target, 16) + 4 * i, Number(value(register)));
        }
        break;
      default:
        throw new Error(`there is no ${operation} here`);
    }
  }
}

describe("the kernel", () => {
  test("makes every copy of its table, at any alignment, and touches nothing else", () => {
    const gaps = fc.tuple(fc.nat(20), fc.nat(20), fc.nat(100));
    const grids = fc.record({
      blocks: fc.integer({ min: 1, max: 3 }),
      threads: fc.integer({ min: 1, max: 5 }),
    });
    fc.assert(
      fc.property(fc.array(gaps, { minLength: 1, maxLength: 4 }), grids, (lengths, { blocks, threads }) => {
        const half = 1024;
        const memory = new Uint8Array(2 * half);
        for (let i = 0; i < half; i++) memory[i] = (i * 37 + 1) % 251;
        const expected = memory.slice();
        const table: Copy[] = [];
        let [from, to] = [0, half];
        for (const [before, beside, byteLength] of lengths) {
          from += before;
          to += beside;
          table.push({ to, from, byteLength });
          expected.copyWithin(to, from, from + byteLength);
          from += byteLength;
          to += byteLength;
        }
        const view = new DataView(memory.buffer);
        for (let row = 0; row < table.length; row++) {
          for (let block = 0; block < blocks; block++) {
            for (let thread = 0; thread < threads; thread++)
              run(table, view, { block, row, thread, blocks, threads });
          }
        }
        expect(memory).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  test("moves 16 bytes at a time where it can", () => {
    const memory = new DataView(new ArrayBuffer(256));
    const table = [{ to: 128, from: 0, byteLength: 64 }];
    const grid = { row: 0, blocks: 1, threads: 4, block: 0 };
    for (let i = 0; i < 64; i++) memory.setUint8(i, i);
    run(table, memory, { ...grid, thread: 1 });
    const moved = Array.from({ length: 64 }, (_, i) => memory.getUint8(128 + i));
    expect(moved).toEqual(moved.map((_, i) => (i >= 16 && i < 32 ? i : 0)));
  });

  const hasAssembler = spawnSync("ptxas", ["--version"]).status === 0;
  if (!hasAssembler) console.error("NOT TESTED: whether ptxas assembles the kernel, which needs ptxas");
  test.runIf(hasAssembler)("is assembled by NVIDIA's assembler", () => {
    const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
    const file = join(directory, "gather.ptx");
    writeFileSync(file, GATHER_KERNEL);
    const parameters = ["-arch=sm_80", file, "-o", join(directory, "gather.cubin")];
    const { status, stderr } = spawnSync("ptxas", parameters, { encoding: "utf8" });
    rmSync(directory, { recursive: true });
    expect([status, stderr]).toEqual([0, ""]);
  });
});
