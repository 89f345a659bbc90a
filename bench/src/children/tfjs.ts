/** `model.save` of tfjs through a handler that writes a file, ended by fsync. */
import { join } from "node:path";
import { answer, gbPerS } from "../kit/child";
import { removeFully, writeDurably } from "../kit/durable";
import { denseSide, type StateOptions } from "../kit/state";
import { loadTfjs } from "../kit/tfjs";
import { warmed } from "../kit/warmed";

export interface TfjsOptions extends StateOptions {
  /** Whether to install it where it is missing. */
  readonly install: boolean;
}

await answer<TfjsOptions>(async ({ dir, bytes, tensors, install }) => {
  const tf = await loadTfjs(install);
  if ("skip" in tf) return tf;
  await tf.setBackend("cpu");
  const side = denseSide(bytes, tensors);
  const model = tf.sequential();
  for (let layer = 0; layer < tensors / 2; layer++) {
    model.add(
      tf.layers.dense({
        units: side,
        kernelInitializer: "ones",
        biasInitializer: "zeros",
        ...(layer === 0 && { inputShape: [side] }),
      }),
    );
  }
  const path = join(dir, "tfjs");
  let written = 0;
  const handler = tf.io.withSaveHandler(async ({ weightData = [] }) => {
    const parts = (Array.isArray(weightData) ? weightData : [weightData]).map((part) => new Uint8Array(part));
    written = parts.reduce((sum, part) => sum + part.byteLength, 0);
    await writeDurably(path, parts);
    return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: "JSON" } };
  });
  const [ms = Number.NaN] = await warmed({}, async () => {
    const startedAt = performance.now();
    await model.save(handler);
    const took = performance.now() - startedAt;
    await removeFully(path);
    return took;
  });
  return { gbPerS: gbPerS(written, ms) };
});
