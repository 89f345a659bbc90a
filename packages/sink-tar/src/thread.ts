/** The thread that sinks live on: the entry point of a worker, and nothing that is imported. */
import { serveSinks } from "@holdfast/file-root";
import { ARCHIVE } from "./archive";

serveSinks(ARCHIVE);
