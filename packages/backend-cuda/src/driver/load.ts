import { createRequire } from "node:module";
import { HoldfastError, messageOf } from "@holdfast/core";
import { Driver, type Koffi } from "./driver";
import { NO_DEVICE, SUCCESS } from "./errors";

/** Where the driver is: known to the loader, or where WSL and the container runtimes put it. */
const PLACES = ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1"];
/** CUDA 11.0: NVIDIA supports no older driver. */
const OLDEST = 11_000;

const loaded = new Map<string, Driver>();

/**
 * The CUDA driver, loaded and initialized at the first call. HOLDFAST_LIBCUDA names another library: for tests.
 * @throws HoldfastError `UNSUPPORTED` if there is no driver, it is too old, or there is no device
 */
export function loadDriver(): Driver {
  const named = process.env.HOLDFAST_LIBCUDA;
  const places = named ? [named] : PLACES;
  const key = places.join();
  const driver = loaded.get(key) ?? initialize(open(places));
  loaded.set(key, driver);
  return driver;
}

function open(places: readonly string[]): Driver {
  const koffi = loadKoffi();
  const reasons: string[] = [];
  for (const place of places) {
    try {
      return new Driver(koffi, koffi.load(place));
    } catch (error) {
      reasons.push(`${place}: ${messageOf(error)}`);
    }
  }
  throw unsupported(
    `there is no CUDA driver: install NVIDIA's, or run the container with --gpus all (${reasons.join("; ")})`,
  );
}

// Required rather than imported: `snapshot` may be the first to need it, and has to answer at once.
function loadKoffi(): Koffi {
  const require = createRequire(import.meta.url);
  try {
    return require("koffi");
  } catch (cause) {
    throw unsupported(
      `koffi, which calls the CUDA driver, cannot be loaded on ${process.platform} ${process.arch}: install the ` +
        "dependencies of @holdfast/backend-cuda, optional ones included",
      cause,
    );
  }
}

function initialize(driver: Driver): Driver {
  const code = driver.status("cuInit", 0);
  if (code === NO_DEVICE) {
    const cause = driver.failure("cuInit", code).cause;
    throw unsupported(
      "the CUDA driver finds no device: look at nvidia-smi, and at CUDA_VISIBLE_DEVICES",
      cause,
    );
  }
  if (code !== SUCCESS) {
    const { cause } = driver.failure("cuInit", code);
    throw unsupported(`the CUDA driver does not start: ${messageOf(cause)}`, cause);
  }
  const version = Number(driver.out("cuDriverGetVersion"));
  if (version < OLDEST) {
    throw unsupported(
      `the CUDA driver is of CUDA ${format(version)}, and has to be of ${format(OLDEST)} at least`,
    );
  }
  return driver;
}

/** 12080 is 12.8. */
function format(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}

function unsupported(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError("UNSUPPORTED", message, { cause });
}
