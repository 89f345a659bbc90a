export { type BuildOptions, buildStandIn, cudaHeaders } from "./build";
export { type Settings, StandIn, type Statistics } from "./stand-in";
export { TrainingProgram } from "./training-program";
