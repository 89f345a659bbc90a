/** What the ranks of a replicated state plan to write, and what it takes one of them to work it out. */
import { answer } from "../kit/child";
import { Described, type DescribedState, planOf } from "../kit/planned";
import { peakResident, resetPeak } from "../kit/resident";
import { MiB } from "../measure";

export interface PlanOptions {
  readonly worldSize: number;
  /** GPT-2 small with Adam's two moments, or so many matrices. */
  readonly state: "gpt2" | number;
  /** How many of the ranks plan, each a part of the way further. Default: all. */
  readonly ranks?: number;
}

await answer<PlanOptions>(async ({ worldSize, state: kind, ranks = worldSize }) => {
  const state = kind === "gpt2" ? gpt2() : matrices(kind);
  globalThis.gc?.();
  resetPeak();
  const baseline = process.memoryUsage.rss();
  const plans = [];
  for (let i = 0; i < ranks; i++)
    plans.push(await planOf(state, Math.floor(((i + 0.5) / ranks) * worldSize), worldSize));
  const bytes = plans.map((plan) => plan.bytes);
  return {
    mostMb: Math.max(...bytes) / 1e6,
    meanMb: bytes.reduce((sum, one) => sum + one, 0) / bytes.length / 1e6,
    seconds: Math.max(...plans.map((plan) => plan.ms)) / 1000,
    mib: ((peakResident() ?? Number.NaN) - baseline) / MiB,
  };
});

function matrices(count: number): DescribedState {
  const named = Array.from({ length: count }, (_, i) => [`layers.${i}.weight`, f32(64, 64)] as const);
  const ofModel = Math.floor(count / 3);
  return {
    model: Object.fromEntries(named.slice(0, ofModel)),
    optimizer: Object.fromEntries(named.slice(ofModel)),
  };
}

/** 124 M parameters, by the names and shapes of Hugging Face's `gpt2`. */
function gpt2(): DescribedState {
  const d = 768;
  const model: Record<string, Described> = {
    "transformer.wte.weight": f32(50_257, d),
    "transformer.wpe.weight": f32(1024, d),
  };
  for (let layer = 0; layer < 12; layer++) {
    const linear = (name: string, from: number, to: number) => {
      model[`transformer.h.${layer}.${name}.weight`] = f32(from, to);
      model[`transformer.h.${layer}.${name}.bias`] = f32(to);
    };
    const norm = (name: string) => {
      model[`transformer.h.${layer}.${name}.weight`] = f32(d);
      model[`transformer.h.${layer}.${name}.bias`] = f32(d);
    };
    norm("ln_1");
    linear("attn.c_attn", d, 3 * d);
    linear("attn.c_proj", d, d);
    norm("ln_2");
    linear("mlp.c_fc", d, 4 * d);
    linear("mlp.c_proj", 4 * d, d);
  }
  model["transformer.ln_f.weight"] = f32(d);
  model["transformer.ln_f.bias"] = f32(d);
  const optimizer: Record<string, Described> = {};
  for (const [name, { spec }] of Object.entries(model)) {
    for (const moment of ["exp_avg", "exp_avg_sq"]) optimizer[`state.${name}.${moment}`] = f32(...spec.shape);
  }
  return { model, optimizer };
}

function f32(...shape: readonly number[]): Described {
  return new Described({ dtype: "F32", shape });
}
