// Another process that trains: it exports memory and an event. Usage: node exporter.mjs LIBCUDA BYTES
// Prints {"memory", "event"} as hexadecimal digits; then, for each line that it reads, what the memory holds.
import { createInterface } from "node:readline";
import { TrainingProgram } from "@holdfast/cuda-stand-in";

const [, , path = "", bytes = ""] = process.argv;
const program = new TrainingProgram(path);
const ptr = program.allocate(Number(bytes));
program.write(
  ptr,
  Uint8Array.from({ length: Number(bytes) }, (_, i) => i * 7),
);
const [memory, event] = [program.exportMemory(ptr), program.exportEvent()];
console.log(JSON.stringify({ memory: hex(memory), event: hex(event) }));
for await (const _ of createInterface({ input: process.stdin })) {
  console.log(hex(program.read(ptr, Number(bytes))));
}

function hex(/** @type {Uint8Array} */ data) {
  return Buffer.from(data).toString("hex");
}
