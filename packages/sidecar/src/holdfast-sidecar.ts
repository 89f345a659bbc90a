#!/usr/bin/env node
import { createInterface } from "node:readline";
import { cudaBackend } from "@holdfast/backend-cuda";
import { AsyncCheckpointer, messageOf } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { copiedBackend } from "./copied";
import { type Answer, readRequest } from "./messages";
import { optionsOf } from "./options";
import { Sidecar } from "./sidecar";

// The trainer decides when we end, by closing our standard input: what asks the whole group to end asks it too.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const)
  process.on(signal, () => {});
process.stdout.on("error", () => {}); // the trainer is dead, which standard input tells as well

try {
  const { root, device, retention, host, timeout } = optionsOf(process.argv.slice(2));
  const sink = fsSink(root);
  const checkpointer = await AsyncCheckpointer.open({
    backend: copiedBackend(cudaBackend({ device })),
    sink,
    retention,
    memory: { host, device: 0 }, // the staging memory is the copy
    ...(timeout !== undefined && { timeout }),
  });
  const answer = (message: Answer) => process.stdout.write(`${JSON.stringify(message)}\n`);
  const sidecar = new Sidecar({ checkpointer, sink, root, device, answer });
  for await (const line of createInterface({ input: process.stdin })) void sidecar.take(readRequest(line));
  await sidecar.end();
  process.exit(0); // a copy that never ends would hold us
} catch (error) {
  process.stderr.write(`holdfast-sidecar: ${messageOf(error)}\n`);
  process.exit(2);
}
