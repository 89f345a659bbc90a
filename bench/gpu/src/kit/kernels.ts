/**
 * What the bench trains with: two kernels in PTX, which the driver compiles for its device.
 *
 * - `holdfast_bench_fill(words, count, seed)` gives each 32-bit word a value that follows from its index and the
 *   seed, and differs from that of any other seed: so that the host knows what a tensor held at each step.
 * - `holdfast_bench_spin(ns)` lasts so long, by the device's clock: so that what is queued behind it is queued
 *   before its turn comes.
 */
export const KERNELS = `
.version 6.0
.target sm_50
.address_size 64

.visible .entry holdfast_bench_fill(.param .u64 words, .param .u64 count, .param .u32 seed)
{
  .reg .pred %p;
  .reg .b32 %seed, %block, %size, %lane, %x, %y;
  .reg .b64 %at, %count, %index, %stride, %wide, %target;

  ld.param.u64 %at, [words];
  ld.param.u64 %count, [count];
  ld.param.u32 %seed, [seed];
  cvta.to.global.u64 %at, %at;
  mov.u32 %block, %ctaid.x;
  mov.u32 %size, %ntid.x;
  mov.u32 %lane, %tid.x;
  mul.wide.u32 %index, %block, %size;
  cvt.u64.u32 %wide, %lane;
  add.u64 %index, %index, %wide;
  mov.u32 %block, %nctaid.x;
  mul.wide.u32 %stride, %block, %size;
TURN:
  setp.ge.u64 %p, %index, %count;
  @%p bra END;
  cvt.u32.u64 %x, %index;
  add.u32 %x, %x, %seed;
  mul.lo.u32 %x, %x, 0x9E3779B1;
  shr.u32 %y, %x, 15;
  xor.b32 %x, %x, %y;
  shl.b64 %target, %index, 2;
  add.u64 %target, %target, %at;
  st.global.u32 [%target], %x;
  add.u64 %index, %index, %stride;
  bra TURN;
END:
  ret;
}

.visible .entry holdfast_bench_spin(.param .u64 ns)
{
  .reg .pred %p;
  .reg .b64 %ns, %begun, %now;

  ld.param.u64 %ns, [ns];
  mov.u64 %begun, %globaltimer;
TURN:
  mov.u64 %now, %globaltimer;
  sub.u64 %now, %now, %begun;
  setp.lt.u64 %p, %now, %ns;
  @%p bra TURN;
  ret;
}
`;

/**
 * What `holdfast_bench_fill` makes of words: that of word `index` and a seed is at `index + seed`, so that one list holds
 * what tensors of all seeds hold.
 */
export function filledWords(count: number): Uint32Array {
  const words = new Uint32Array(count);
  for (let index = 0; index < count; index++) {
    const x = Math.imul(index, 0x9e3779b1);
    words[index] = x ^ (x >>> 15);
  }
  return words;
}
