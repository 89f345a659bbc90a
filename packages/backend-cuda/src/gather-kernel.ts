/**
 * The kernel that makes many small copies in one launch, for drivers that have no call for that. Its one parameter
 * is a table of copies {to, from, byteLength}, each of 64 bits; row y of the grid makes copy y. A thread moves 16
 * bytes a turn where both ends are aligned so, else 4, else 1, and what is left over byte by byte.
 */

export const KERNEL_NAME = "holdfast_gather";
/** How many copies a launch makes: the parameters of a kernel have room for 4 KiB. */
export const KERNEL_COPIES = 170;
/** Blocks that share a copy, and threads a block: 128 KiB a turn. */
export const KERNEL_BLOCKS = 32;
export const KERNEL_THREADS = 256;

/**
 * %thread of %threads moves bytes [%at, %end) of the copy, and so on, beginning after the %done that are done.
 * Moves `step` bytes a turn, as long as there are so many before %size.
 */
function turns(name: string, step: number, move: string): string {
  return `
${name}:
  mul.lo.u64 %stride, %threads, ${step};
  mul.lo.u64 %at, %thread, ${step};
  add.u64 %end, %done, %at;
  add.u64 %end, %end, ${step};
${name}_TURN:
  setp.gt.u64 %p, %end, %size;
  @%p bra ${name}_END;
  sub.u64 %at, %end, ${step};
  add.u64 %source, %from, %at;
  add.u64 %target, %to, %at;
  ${move}
  add.u64 %end, %end, %stride;
  bra ${name}_TURN;
${name}_END:`;
}

/** PTX for every device since Maxwell; the driver compiles it when it is loaded. */
export const GATHER_KERNEL = `
.version 6.0
.target sm_50
.address_size 64

.visible .entry ${KERNEL_NAME}(.param .align 8 .b8 table[${KERNEL_COPIES * 24}])
{
  .reg .pred %p;
  .reg .b32 %i<4>, %w<4>;
  .reg .b64 %row, %entry, %to, %from, %size, %thread, %threads, %lane;
  .reg .b64 %stride, %at, %end, %done, %source, %target, %both;

  mov.u32 %i0, %ctaid.y;
  mul.wide.u32 %row, %i0, 24;
  mov.b64 %entry, table;
  add.u64 %entry, %entry, %row;
  ld.param.u64 %to, [%entry];
  ld.param.u64 %from, [%entry+8];
  ld.param.u64 %size, [%entry+16];
  cvta.to.global.u64 %to, %to;
  cvta.to.global.u64 %from, %from;

  mov.u32 %i1, %ctaid.x;
  mov.u32 %i2, %ntid.x;
  mov.u32 %i3, %tid.x;
  mul.wide.u32 %thread, %i1, %i2;
  cvt.u64.u32 %lane, %i3;
  add.u64 %thread, %thread, %lane;
  mov.u32 %i1, %nctaid.x;
  mul.wide.u32 %threads, %i1, %i2;

  mov.u64 %done, 0;
  or.b64 %both, %to, %from;
  and.b64 %at, %both, 15;
  setp.ne.u64 %p, %at, 0;
  @%p bra NOT_16;
${turns(
  "SIXTEEN",
  16,
  "ld.global.v4.u32 {%w0, %w1, %w2, %w3}, [%source];\n  st.global.v4.u32 [%target], {%w0, %w1, %w2, %w3};",
)}
  and.b64 %done, %size, 0xfffffffffffffff0;
  bra BYTES;
NOT_16:
  and.b64 %at, %both, 3;
  setp.ne.u64 %p, %at, 0;
  @%p bra BYTES;
${turns("FOUR", 4, "ld.global.u32 %w0, [%source];\n  st.global.u32 [%target], %w0;")}
  and.b64 %done, %size, 0xfffffffffffffffc;
${turns("BYTES", 1, "ld.global.u8 %w0, [%source];\n  st.global.u8 [%target], %w0;")}
  ret;
}
`;
