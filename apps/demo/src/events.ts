/** What a training tells whoever watches it. Plain data, because it crosses from process to process. */
export type TrainingEvent =
  | {
      readonly type: "started";
      /** What computes. */
      readonly adapter: string;
      /** Steps already done. */
      readonly step: number;
      /** The checkpoint that it goes on from, if any. */
      readonly resumedFrom: string | undefined;
      /** Newer checkpoints that are broken, and why. */
      readonly passedOver: readonly { readonly id: string; readonly reason: string }[];
    }
  | {
      readonly type: "step";
      /** Steps done. */
      readonly step: number;
      readonly loss: number;
      /** Milliseconds by the process's own clock. */
      readonly at: number;
    }
  /** A save begins. Then it is written, which ends with one of the last two. */
  | { readonly type: "saving"; readonly step: number; readonly at: number }
  | { readonly type: "writing"; readonly step: number; readonly bytes: number; readonly totalBytes: number }
  | { readonly type: "committed"; readonly checkpoint: SavedCheckpoint; readonly at: number }
  | { readonly type: "failed"; readonly step: number; readonly reason: string; readonly at: number };

export interface SavedCheckpoint {
  readonly id: string;
  readonly step: number;
  readonly bytes: number;
  /** Milliseconds that training stood still for it. */
  readonly stallMs: number;
  /** Milliseconds from the call until it was safe and older ones were gone, while training went on. */
  readonly tookMs: number;
  /** Why older ones could not be removed, if so. */
  readonly housekeeping?: string | undefined;
}

export type Report = (event: TrainingEvent) => void;
