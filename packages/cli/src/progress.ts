/** A bar for long work, on standard error if that is a terminal. */
import { Presets, SingleBar } from "cli-progress";
import { formatBytes } from "./format";

export interface Progress {
  readonly bytes: number;
  readonly totalBytes: number;
}

/** Shows how far `work` is, as it tells; the bar goes when it ends. */
export async function withProgress<R>(
  label: string,
  work: (onProgress: (progress: Progress) => void) => Promise<R>,
): Promise<R> {
  const bar = new SingleBar(
    {
      stream: process.stderr,
      noTTYOutput: false, // elsewhere it stays silent
      clearOnComplete: true,
      hideCursor: true,
      format: `${label} {bar} {percentage} %  {done} of {all}  {rate}/s`,
    },
    Presets.shades_classic,
  );
  const start = performance.now();
  const payload = ({ bytes, totalBytes }: Progress) => ({
    done: formatBytes(bytes),
    all: formatBytes(totalBytes),
    rate: formatBytes((bytes / Math.max(1, performance.now() - start)) * 1000),
  });
  let started = false;
  try {
    return await work((progress) => {
      if (!started) bar.start(progress.totalBytes, progress.bytes, payload(progress));
      else {
        bar.setTotal(progress.totalBytes);
        bar.update(progress.bytes, payload(progress));
      }
      started = true;
    });
  } finally {
    if (started) bar.stop();
  }
}
