/** 64 random bits in hex: nobody else's run has the same. */
export function randomId(): string {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return [...words].map((word) => word.toString(16).padStart(8, "0")).join("");
}
