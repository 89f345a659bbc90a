export { fsSink } from "./threaded-sink";
