/** The words of the bench. A group measures its contestants side by side; its rows are what that says. */

/** What one run of a contestant found: figures by name. */
export type Sample = Readonly<Record<string, number>>;

/** What is taken of the machine at the same time, in bytes. */
export interface Room {
  readonly disk: number;
  readonly device: number;
  readonly host: number;
}

/** One way to do what the group measures. Each run is a new process. */
export interface Contestant {
  readonly name: string;
  /** The program in `children/` that runs. */
  readonly child: string;
  /** What it is told, as JSON; the runner adds `dir`, where it may write. */
  readonly options: object;
  /** What it takes, where that is much. */
  readonly room?: Room;
}

/** A limit that a row is held against. */
export interface Goal {
  readonly of: "ratio" | "value";
  readonly is: "≥" | "≤";
  readonly limit: number;
}

/** What a row says. */
export interface Figure {
  readonly value: number;
  readonly unit: string;
  /** Of this value to the other contestant's. */
  readonly ratio?: number;
  /** What the ratio is to, or what was subtracted, with its own figure. */
  readonly against?: string;
}

/** The median of one figure of one contestant; NaN if it has none. */
export type Medians = (contestant: string, figure: string) => number;

export interface RowPlan {
  readonly name: string;
  /** The contestants that it is made of: if one of them cannot be had, there is no row. */
  readonly needs: readonly string[];
  /** Those that it says something about where they can be had. */
  readonly beside?: readonly string[];
  readonly goal?: Goal;
  figure(median: Medians): Figure;
}

export interface Group {
  readonly name: string;
  /** What is measured and what is included, in a sentence or two. */
  readonly about: string;
  /** How often each contestant runs. */
  readonly runs: number;
  /** Runs once before them, in the same directory. */
  readonly prepare?: Contestant;
  readonly contestants: readonly Contestant[];
  readonly rows: readonly RowPlan[];
}

/** A row of the table. */
export interface Row extends Figure {
  readonly group: string;
  readonly name: string;
  readonly goal: Goal | undefined;
}

/** How much is measured. */
export interface Scale {
  readonly quick: boolean;
}

export const MiB = 2 ** 20;
export const GiB = 2 ** 30;
/** A machine that did nothing for as long as this is cold: see the README. */
export const COLD_IDLE_MS = 10_000;
