/** Memory as core's pool lends it: shared, and beginning where a page does. */
export function alignedMemory(byteLength: number): Uint8Array {
  const pages = Math.max(1, Math.ceil(byteLength / 65536));
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return new Uint8Array(buffer, 0, byteLength);
}
