export { fsSink } from "./fs-sink";
