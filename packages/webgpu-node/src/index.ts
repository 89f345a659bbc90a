export { type NodeGpu, openDevice, openGpu } from "./gpu";
