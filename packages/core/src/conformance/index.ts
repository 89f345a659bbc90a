export { backendConformance } from "./backend";
export type { BackendFixture, BackendSuite } from "./backend/fixture";
export type { TestRunner } from "./runner";
export { sinkConformance } from "./sink";
export type { SinkFixture, SinkSuite } from "./sink/fixture";
