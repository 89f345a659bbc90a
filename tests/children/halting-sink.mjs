// A sink that asks before and after each step of an attempt whether to halt there.

/**
 * `at` is called with `begin`, `begun`, `writing` (once the first chunk of a file has been taken), `finish`, `finished`,
 * `commit` and `committed`, and what it returns is waited for.
 * @param {import("@holdfast/core").Sink} sink
 * @param {(point: string) => Promise<void>} at
 * @returns {import("@holdfast/core").Sink}
 */
export function halting(sink, at) {
  return {
    name: sink.name,
    protocol: sink.protocol,
    capabilities: sink.capabilities,
    async begin(attempt, rank, options) {
      await at("begin");
      const writer = await sink.begin(attempt, rank, options);
      await at("begun");
      return {
        write: (plan, chunks) => writer.write(plan, haltingChunks(chunks, at)),
        async finish(manifest) {
          await at("finish");
          await writer.finish(manifest);
          await at("finished");
        },
        fail: (reason) => writer.fail(reason),
        abort: () => writer.abort(),
      };
    },
    status: (attempt) => sink.status(attempt),
    manifest: (attempt, rank) => sink.manifest(attempt, rank),
    async commit(attempt, id, files) {
      await at("commit");
      await sink.commit(attempt, id, files);
      await at("committed");
    },
    open: (id) => sink.open(id),
    list: (options) => sink.list(options),
    delete: (id) => sink.delete(id),
    sweep: (options) => sink.sweep(options),
    close: () => sink.close(),
  };
}

/**
 * @param {AsyncIterable<import("@holdfast/core").Chunk>} chunks
 * @param {(point: string) => Promise<void>} at
 */
async function* haltingChunks(chunks, at) {
  let taken = 0;
  for await (const chunk of chunks) {
    if (taken++ > 0) await at("writing");
    yield chunk;
  }
}
