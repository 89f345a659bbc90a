export { fsSink } from "./sink";
