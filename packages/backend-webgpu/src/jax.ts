import { type Backend, type Budget, HoldfastError } from "@holdfast/core";
import { getWebGPUDevice, Array as JaxArray } from "@jax-js/jax";
import { DeviceContext } from "./device-context";
import { writeTensors } from "./device-writer";
import { describeArray, hold, locateArray, zerosLike } from "./jax-array";
import { align, type Locations } from "./location";
import { GpuSnapshot, type Holding } from "./snapshot";

type JaxArrays = ReadonlyMap<string, JaxArray>;

/**
 * Takes arrays of `@jax-js/jax` on its `webgpu` device: float32, float16, int32 and uint32. They are
 * immutable, so that a snapshot only holds a reference to each until it was read (`retained`), and
 * copies nothing. The caller's references stay the caller's: a save uses none of them up, and neither
 * does a restore, which returns new arrays beside those that were passed in.
 */
export function jaxBackend(): Backend<JaxArray> {
  let opened: DeviceContext | undefined;
  const context = (): DeviceContext => {
    opened ??= new DeviceContext(openedDevice());
    opened.guard.check();
    return opened;
  };
  return {
    name: "jax",
    protocol: 1,
    accepts: (value): value is JaxArray => value instanceof JaxArray,
    describe: describeArray,
    share: (array) => array.ref,
    dispose: (array) => array.dispose(),
    snapshot(tensors, { device: budget }) {
      const device = context();
      return new GpuSnapshot(device, retain(tensors, budget));
    },
    async restore(tensors, source, signal) {
      signal?.throwIfAborted();
      const { guard } = context();
      const made = makeAll(tensors, zerosLike);
      try {
        await writeTensors(guard, locateAll(made), source, signal);
        return made;
      } catch (error) {
        disposeAll(made);
        throw error;
      }
    },
    close: () => opened?.close(),
  };
}

function retain(tensors: JaxArrays, budget: Budget): Holding {
  const held = makeAll(tensors, hold);
  let locations: Locations;
  try {
    locations = locateAll(held);
  } catch (error) {
    disposeAll(held);
    throw error;
  }
  let bytes = 0;
  for (const { byteLength } of locations.values()) bytes += align(byteLength);
  const fits = budget.reserve(bytes);
  return {
    mode: fits ? "retained" : "blocking",
    locations,
    release: () => {
      disposeAll(held);
      if (fits) budget.release(bytes);
    },
  };
}

/** One array by `make` for each of `tensors`, or none. */
function makeAll(tensors: JaxArrays, make: (name: string, array: JaxArray) => JaxArray): JaxArrays {
  const made = new Map<string, JaxArray>();
  try {
    for (const [name, array] of tensors) made.set(name, make(name, array));
    return made;
  } catch (error) {
    disposeAll(made);
    throw error;
  }
}

function locateAll(arrays: JaxArrays): Locations {
  return new Map([...arrays].map(([name, array]) => [name, locateArray(name, array)]));
}

function disposeAll(arrays: JaxArrays): void {
  for (const array of arrays.values()) array.dispose();
}

function openedDevice(): GPUDevice {
  try {
    return getWebGPUDevice();
  } catch (cause) {
    throw new HoldfastError("INVALID_STATE", 'jax-js has no WebGPU device: await its init("webgpu") first', {
      cause,
    });
  }
}
