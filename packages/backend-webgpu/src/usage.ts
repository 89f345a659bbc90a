/**
 * WebGPU's flags, whose values the specification fixes. A browser has them as globals; in Node they are
 * there only if somebody put them there. https://www.w3.org/TR/webgpu/#namespacedef-gpubufferusage
 */
export const MAP_READ = 0x1;
export const COPY_SRC = 0x4;
export const COPY_DST = 0x8;
/** Of GPUMapMode. */
export const MODE_READ = 0x1;
