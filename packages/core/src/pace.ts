/** How fast saves go: measured, so that one can be expected to take so long. */
export class Pace {
  /** Milliseconds a byte of the latest save that was committed, from its beginning to its commit. */
  #latest: number | undefined;
  #running: { readonly startedAt: number; bytes: number } | undefined;

  /** A save begins to be written. */
  begin(): void {
    this.#running = { startedAt: performance.now(), bytes: 0 };
  }

  /** The storage has taken so many bytes of it. */
  took(bytes: number): void {
    if (this.#running) this.#running.bytes = bytes;
  }

  /** It is committed, of so many bytes; or it came to nothing. */
  end(committedBytes?: number): void {
    if (this.#running && committedBytes) this.#latest = this.#elapsed / committedBytes;
    this.#running = undefined;
  }

  /**
   * Milliseconds from beginning to commit for a save of so many bytes, by the slower of the latest one and the one
   * that is being written. Undefined as long as nothing was measured.
   */
  expected(bytes: number): number | undefined {
    const taken = this.#running?.bytes ?? 0;
    const rates = [this.#latest ?? 0, taken > 0 ? this.#elapsed / taken : 0];
    return Math.max(...rates) > 0 ? Math.max(...rates) * bytes : undefined;
  }

  /** The same for what is left of the save that is being written, which has so many bytes. */
  left(bytes: number): number | undefined {
    const whole = this.expected(bytes);
    return whole === undefined ? undefined : Math.max(0, whole - this.#elapsed);
  }

  get #elapsed(): number {
    return this.#running ? performance.now() - this.#running.startedAt : 0;
  }
}
