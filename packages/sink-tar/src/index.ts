export { rootSink as tarSink } from "./root-sink";
