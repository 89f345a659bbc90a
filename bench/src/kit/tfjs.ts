/** @tensorflow/tfjs, which is too big for everybody's node_modules and has a folder of its own. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { messageOf } from "../command-line";
import { runTool } from "./tool";

/** As much of its types as is used here: it is not there when this is compiled. */
export interface Tfjs {
  sequential(): Model;
  readonly layers: { dense(options: DenseOptions): unknown };
  readonly io: { withSaveHandler(save: (artifacts: Artifacts) => Promise<object>): unknown };
  setBackend(name: string): Promise<boolean>;
}

interface Model {
  add(layer: unknown): void;
  save(handler: unknown): Promise<unknown>;
}

interface DenseOptions {
  readonly units: number;
  readonly inputShape?: readonly number[];
  readonly kernelInitializer: string;
  readonly biasInitializer: string;
}

interface Artifacts {
  readonly weightData?: ArrayBuffer | ArrayBuffer[];
}

const FOLDER = fileURLToPath(new URL("../../peers/", import.meta.url));

/** Loads it; installs it before, if that is allowed and needed. Otherwise says why there is none. */
export async function loadTfjs(install: boolean): Promise<Tfjs | { readonly skip: string }> {
  if (!existsSync(`${FOLDER}node_modules/@tensorflow/tfjs`)) {
    if (!install) return { skip: "tfjs is not installed; a run without --quick installs it" };
    try {
      const how = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
      if ((await runTool("npm", ["ci", "--prefix", FOLDER, ...how])) === "absent")
        return { skip: "there is no npm" };
    } catch (error) {
      return { skip: `tfjs could not be installed: ${messageOf(error)}` };
    }
  }
  return createRequire(`${FOLDER}package.json`)("@tensorflow/tfjs");
}
