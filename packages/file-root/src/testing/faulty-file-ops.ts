/** The real file operations, any of which can be made to fail; they are logged, and open files counted. */
import type { Entry, FileOps, OpenFile } from "../file-ops";
import { nodeFileOps } from "../node-file-ops";

export interface Operation {
  /** From 0. */
  readonly index: number;
  readonly name: keyof FileOps | keyof OpenFile;
  /** Of the file that it works on. */
  readonly path: string;
}

/** `before`: it was not done. `after`: it was done, and failed all the same (a lost answer, a late error). */
export interface Fault {
  readonly errno: string;
  readonly when: "before" | "after";
}

type Plan = (operation: Operation) => Fault | undefined | Promise<Fault | undefined>;

export class FaultyFileOps implements FileOps {
  readonly log: Operation[] = [];
  /** How many faults there were. */
  faults = 0;
  openFiles = 0;

  /** @param plan is asked before each operation; it may itself do something first */
  constructor(private readonly plan: Plan = () => undefined) {}

  async open(path: string, mode: Parameters<FileOps["open"]>[1]): Promise<OpenFile> {
    let file: OpenFile | undefined;
    try {
      await this.#run("open", path, async () => {
        file = await nodeFileOps.open(path, mode);
      });
    } catch (error) {
      await file?.close();
      throw error;
    }
    if (!file) throw new Error("open neither opened nor failed");
    this.openFiles++;
    return this.#wrap(file, path);
  }

  mkdir = (path: string) => this.#run("mkdir", path, () => nodeFileOps.mkdir(path));
  rename = (from: string, to: string) => this.#run("rename", to, () => nodeFileOps.rename(from, to));
  link = (from: string, to: string) => this.#run("link", to, () => nodeFileOps.link(from, to));
  remove = (path: string) => this.#run("remove", path, () => nodeFileOps.remove(path));
  readdir = (path: string): Promise<readonly Entry[]> =>
    this.#run("readdir", path, () => nodeFileOps.readdir(path));
  lstat = (path: string) => this.#run("lstat", path, () => nodeFileOps.lstat(path));
  freeBytes = (path: string) => this.#run("freeBytes", path, () => nodeFileOps.freeBytes(path));

  #wrap(file: OpenFile, path: string): OpenFile {
    return {
      read: (into, position) => this.#run("read", path, () => file.read(into, position)),
      write: (bytes, position) => this.#run("write", path, () => file.write(bytes, position)),
      stream: async (plan) => {
        const stream = await file.stream(plan);
        const append: typeof stream.append = (chunk, position) =>
          this.#run("write", path, () => stream.append(chunk, position));
        return { append, end: () => stream.end(), digests: () => stream.digests() };
      },
      load: (into, position, digest) => this.#run("read", path, () => file.load(into, position, digest)),
      sync: () => this.#run("sync", path, () => file.sync()),
      stat: () => this.#run("stat", path, () => file.stat()),
      close: async () => {
        // Whatever it reports, a close has closed.
        this.openFiles--;
        await file.close();
        await this.#run("close", path, async () => {});
      },
    };
  }

  async #run<T>(name: Operation["name"], path: string, work: () => Promise<T>): Promise<T> {
    const operation = { index: this.log.length, name, path };
    this.log.push(operation);
    const fault = await this.plan(operation);
    if (fault) this.faults++;
    if (fault?.when === "before") throw systemError(fault.errno, operation);
    if (!fault) return work();
    await work().catch(() => {}); // whatever the answer was, it is lost
    throw systemError(fault.errno, operation);
  }
}

/** Fails operation `index` alone. */
export function failOnce(index: number, fault: Fault): FaultyFileOps {
  return new FaultyFileOps((operation) => (operation.index === index ? fault : undefined));
}

/** Fails operation `index` and whatever comes after it, as if the process had died there. */
export function failFrom(index: number, fault: Fault): FaultyFileOps {
  return new FaultyFileOps((operation) => {
    if (operation.index === index) return fault;
    return operation.index > index ? { errno: fault.errno, when: "before" } : undefined;
  });
}

export function systemError(errno: string, { name, path }: { name: string; path: string }): Error {
  return Object.assign(new Error(`${errno}: injected, ${name} '${path}'`), { code: errno, syscall: name });
}
